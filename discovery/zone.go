package discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/mdns"
	"github.com/miekg/dns"
)

// What stands in DNS. Names are compared in lower case: DNS does not tell the cases apart.
const (
	service  = "_ultrasockets._tcp"
	domain   = "local."
	srvName  = service + "." + domain             // what is browsed for
	enumName = "_services._dns-sd._udp." + domain // RFC 6763, section 9: which services are there at all

	txtVersion = "1" // the version of the wire

	flushCache = 1 << 15 // in a record's class: this replaces what you have (RFC 6762, section 10.2)
	askUnicast = 1 << 15 // in a question's class: answer me alone (section 5.4)
)

// label is an instance ID as it stands in DNS and in gossip.
func label(instance uint64) string { return fmt.Sprintf("%016x", instance) }

// parseLabel is the reverse of label. It takes either case, as DNS does.
func parseLabel(s string) (uint64, bool) {
	if len(s) != 16 || strings.TrimLeft(s, "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	instance, err := strconv.ParseUint(s, 16, 64)
	return instance, err == nil && instance != 0
}

// meshHash is how a mesh is told apart in DNS without telling its name.
func meshHash(mesh string) string {
	sum := sha256.Sum256([]byte(mesh))
	return hex.EncodeToString(sum[:8])
}

// makeTXT returns the strings of the TXT record.
func makeTXT(hash string, relay bool, term uint32) []string {
	txt := []string{"v=" + txtVersion, "mesh=" + hash}
	if relay {
		txt = append(txt, "relay=1", "term="+strconv.FormatUint(uint64(term), 10))
	}
	return txt
}

// parseTXT reads a TXT record of our mesh. ok is false for another version or mesh, and for nonsense. Of a key
// that stands twice the first counts (RFC 6763, section 6.4); unknown keys are ignored.
func parseTXT(txt []string, hash string) (relay bool, term uint32, ok bool) {
	seen := txtKeys(txt)
	if seen["v"] != txtVersion || seen["mesh"] != hash {
		return false, 0, false
	}
	if seen["relay"] != "1" {
		return false, 0, true
	}
	n, err := strconv.ParseUint(seen["term"], 10, 32)
	return true, uint32(n), err == nil
}

// txtKeys reads the "key=value" strings of a TXT record.
func txtKeys(txt []string) map[string]string {
	seen := make(map[string]string, len(txt))
	for _, s := range txt {
		key, value, _ := strings.Cut(s, "=")
		key = strings.ToLower(key)
		if _, twice := seen[key]; !twice {
			seen[key] = value
		}
	}
	return seen
}

// zone is what one node says in DNS on one interface. The library builds the records; the TXT is read anew for
// every question, because it changes while the node lives. Safe for concurrent use.
type zone struct {
	fixed *mdns.MDNSService
	txt   *atomic.Pointer[[]string] // shared by all zones of a node
}

var _ mdns.Zone = (*zone)(nil)

func newZone(instance uint64, port int, addrs []netip.Addr, txt *atomic.Pointer[[]string]) (*zone, error) {
	ips := make([]net.IP, 0, len(addrs))
	for _, a := range addrs {
		ips = append(ips, a.AsSlice())
	}
	// Everything is given, above all the addresses: without them the library asks the machine's DNS for its own
	// host name and may wait for 20 s.
	fixed, err := mdns.NewMDNSService(label(instance), service, domain, label(instance)+"."+domain, port, ips, nil)
	if err != nil {
		return nil, err
	}
	return &zone{fixed: fixed, txt: txt}, nil
}

// Records answers one question.
func (z *zone) Records(q dns.Question) []dns.RR {
	now := *z.fixed
	now.TXT = *z.txt.Load()
	q.Name = strings.ToLower(q.Name)
	return now.Records(q)
}

// all returns everything the zone has to say: what is announced, and taken back with a time to live of 0.
func (z *zone) all() []dns.RR {
	return z.Records(dns.Question{Name: srvName, Qtype: dns.TypePTR, Qclass: dns.ClassINET})
}

// answers returns the records for all questions of a query, without those that the asker says it knows, and
// without repeats. Nil: nothing to say.
func (z *zone) answers(query *dns.Msg) []dns.RR {
	if z.known(query) {
		return nil
	}
	var all []dns.RR
	for _, q := range query.Question[:min(len(query.Question), maxQuestions)] {
		if class := q.Qclass &^ askUnicast; class != dns.ClassINET && class != dns.ClassANY {
			continue
		}
		all = append(all, z.Records(q)...)
	}
	return dns.Dedup(all, nil)
}

// maxQuestions is how many questions of one packet are looked at.
const maxQuestions = 32

// known tells whether the only question is for our service and the asker has our answer for at least half of its
// life to come: it must then not be repeated (RFC 6762, section 7.1).
func (z *zone) known(query *dns.Msg) bool {
	if len(query.Question) != 1 || !strings.EqualFold(query.Question[0].Name, srvName) {
		return false
	}
	own := z.all()
	for _, rr := range query.Answer {
		ptr, ok := rr.(*dns.PTR)
		if ok && len(own) > 0 && strings.EqualFold(ptr.Hdr.Name, srvName) &&
			strings.EqualFold(ptr.Ptr, own[0].(*dns.PTR).Ptr) && ptr.Hdr.Ttl >= own[0].Header().Ttl/2 {
			return true
		}
	}
	return false
}

// response packs records as a multicast response, or as a unicast response to one who is a multicast citizen.
func response(records []dns.RR) ([]byte, error) {
	for _, rr := range records {
		// The pointers to services are shared by all nodes; all other records are this node's alone.
		if rr.Header().Rrtype != dns.TypePTR {
			rr.Header().Class |= flushCache
		}
	}
	return pack(&dns.Msg{Answer: records})
}

// legacyResponse packs records for an asker on a port of its own, who expects plain DNS (RFC 6762, section 6.7):
// its ID and question repeated, no cache-flush bit, and a short life, since it will not hear of changes.
func legacyResponse(query *dns.Msg, records []dns.RR) ([]byte, error) {
	const maxLife = 10 // seconds
	for _, rr := range records {
		rr.Header().Ttl = min(rr.Header().Ttl, maxLife)
	}
	return pack(&dns.Msg{MsgHdr: dns.MsgHdr{Id: query.Id}, Question: query.Question, Answer: records})
}

// goodbye packs records as taken back (RFC 6762, section 10.1).
func goodbye(records []dns.RR) ([]byte, error) {
	for _, rr := range records {
		rr.Header().Ttl = 0
	}
	return response(records)
}

func pack(msg *dns.Msg) ([]byte, error) {
	msg.Response, msg.Authoritative, msg.Compress = true, true, true
	return msg.Pack()
}
