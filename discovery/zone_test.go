package discovery

import (
	"testing"

	"github.com/miekg/dns"
)

func query(name string, qtype uint16) *dns.Msg {
	return &dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: 4711},
		Question: []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}},
	}
}

func TestZoneAnswers(t *testing.T) {
	z := testZone(t, 0xabc, makeTXT(lanHash, false, 0), "203.0.113.9", "fd00::9")
	const instance = "0000000000000abc." + srvName
	for name, c := range map[string]struct {
		query *dns.Msg
		want  []uint16
	}{
		"browse":             {query(srvName, dns.TypePTR), []uint16{dns.TypePTR, dns.TypeSRV, dns.TypeA, dns.TypeAAAA, dns.TypeTXT}},
		"browse in capitals": {query("_UltraSockets._TCP.LOCAL.", dns.TypePTR), []uint16{dns.TypePTR, dns.TypeSRV, dns.TypeA, dns.TypeAAAA, dns.TypeTXT}},
		"all services":       {query(enumName, dns.TypePTR), []uint16{dns.TypePTR}},
		"where":              {query(instance, dns.TypeSRV), []uint16{dns.TypeSRV, dns.TypeA, dns.TypeAAAA}},
		"what":               {query(instance, dns.TypeTXT), []uint16{dns.TypeTXT}},
		"address":            {query("0000000000000abc.local.", dns.TypeA), []uint16{dns.TypeA}},
		"IPv6 address":       {query("0000000000000abc.local.", dns.TypeAAAA), []uint16{dns.TypeAAAA}},
		"other service":      {query("_http._tcp.local.", dns.TypePTR), nil},
		"other instance":     {query("0000000000000abd."+srvName, dns.TypeSRV), nil},
		"nothing":            {&dns.Msg{}, nil},
	} {
		var got []uint16
		for _, rr := range z.answers(c.query) {
			got = append(got, rr.Header().Rrtype)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: got %v, want %v", name, got, c.want)
			}
		}
	}
}

func TestZoneKeepsQuietAboutWhatIsKnown(t *testing.T) {
	z := testZone(t, 9, makeTXT(lanHash, false, 0), "203.0.113.9")
	for name, c := range map[string]struct {
		of     *zone
		ttl    uint32
		answer bool
	}{
		"known":          {z, 120, false},
		"about to die":   {z, 59, true},
		"another's":      {testZone(t, 8, nil, "203.0.113.8"), 120, true},
		"known for long": {z, 4500, false},
	} {
		q := query(srvName, dns.TypePTR)
		q.Answer = c.of.all()[:1]
		q.Answer[0].Header().Ttl = c.ttl
		if got := z.answers(q) != nil; got != c.answer {
			t.Errorf("%s: answered %v", name, got)
		}
	}
}

func TestResponses(t *testing.T) {
	z := testZone(t, 9, makeTXT(lanHash, false, 0), "203.0.113.9")
	b, err := response(z.all())
	multicast := unpack(t, b, err)
	b, err = legacyResponse(query(srvName, dns.TypePTR), z.all())
	legacy := unpack(t, b, err)
	b, err = goodbye(z.all())
	bye := unpack(t, b, err)

	if multicast.Id != 0 || len(multicast.Question) != 0 || !multicast.Authoritative {
		t.Errorf("multicast header: %v", multicast.MsgHdr)
	}
	if legacy.Id != 4711 || len(legacy.Question) != 1 {
		t.Errorf("legacy header: %v, questions %v", legacy.MsgHdr, legacy.Question)
	}
	for i, rr := range multicast.Answer {
		h := rr.Header()
		if flush, own := h.Class&flushCache != 0, h.Rrtype != dns.TypePTR; flush != own {
			t.Errorf("multicast: cache flush %v in %v", flush, rr)
		}
		if h.Ttl != 120 {
			t.Errorf("multicast: %v", rr)
		}
		if l := legacy.Answer[i].Header(); l.Class != dns.ClassINET || l.Ttl > 10 {
			t.Errorf("legacy: %v", legacy.Answer[i])
		}
		if bye.Answer[i].Header().Ttl != 0 {
			t.Errorf("goodbye: %v", bye.Answer[i])
		}
	}
}

func TestWantsUnicast(t *testing.T) {
	q := query(srvName, dns.TypePTR)
	if wantsUnicast(q) {
		t.Error("asked all")
	}
	q.Question[0].Qclass |= askUnicast
	if !wantsUnicast(q) {
		t.Error("asked for itself")
	}
	if z := testZone(t, 9, nil, "203.0.113.9"); z.answers(q) == nil {
		t.Error("not answered")
	}
}
