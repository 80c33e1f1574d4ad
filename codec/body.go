package codec

import (
	"fmt"
	"net/netip"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Bounds on what one body holds. A parser refuses more; so does Hello.Check.
const (
	MaxTransforms = 8        // names of transforms: one bit each in Frame.Packing
	MaxGroups     = 64       // groups of one node
	MaxTags       = 64       // tags of one node
	MaxAddrs      = 8        // addresses of one candidate
	MaxCandidates = 64       // candidates in a Welcome or Roster
	MaxEntries    = 1024     // entries of one Roster frame, changes of one Update frame
	TokenSize     = 16       // bytes of Hello.Token
	maxAddr       = 64       // bytes of one address: 45 of IPv6, a zone, brackets and port
	maxText       = 512      // bytes of a sentence; Append cuts longer ones
	maxTagBytes   = MaxHello // of all keys and values together
)

// Bodies are CBOR maps with small integer keys, in core deterministic encoding (RFC 8949 section 4.2.1): the same body is
// always the same bytes.
var (
	bodyEnc = must(cbor.CoreDetEncOptions().EncMode())

	// A body is at most MaxPayload bytes, and no list may have more than MaxEntries elements: so it costs at most some
	// 300 KiB to decode. An unknown key is skipped whatever its value is, a repeated one is refused: two
	// readers might take different ones.
	bodyDec = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  16,
		MaxArrayElements: MaxEntries,
		MaxMapPairs:      MaxEntries,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// appendBody appends v, a struct of this package, as a CBOR map. It cannot fail: none of them holds a type CBOR lacks.
func appendBody(dst []byte, v any) []byte {
	b, err := bodyEnc.Marshal(v)
	if err != nil {
		panic("codec: " + err.Error())
	}
	return append(dst, b...)
}

// parseBody decodes the one map b into v, a pointer to a struct of this package.
func parseBody(what string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrBody, what, len(b), limit)
	}
	if len(b) == 0 || b[0]>>5 != majorMap {
		return fmt.Errorf("%w: %s is no CBOR map", ErrBody, what)
	}
	if err := bodyDec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrBody, what, err)
	}
	return nil
}

func bodyError(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrBody, what, err)
}

// checkOptionalName accepts no name where a body may leave it out.
func checkOptionalName(name string) error {
	if name == "" {
		return nil
	}
	return CheckName(name)
}

// checkNames checks a list of names in which none may stand twice.
func checkNames(what string, names []string, most int) error {
	if len(names) > most {
		return fmt.Errorf("%d %s, at most %d", len(names), what, most)
	}
	for i, name := range names {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		for _, before := range names[:i] {
			if before == name {
				return fmt.Errorf("%s: %q stands twice", what, name)
			}
		}
	}
	return nil
}

func checkTransforms(names []string, required uint8) error {
	if err := checkNames("transforms", names, MaxTransforms); err != nil {
		return err
	}
	if int(required)>>len(names) != 0 {
		return fmt.Errorf("required %#b names a transform beyond the %d listed", required, len(names))
	}
	return nil
}

func checkTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("%d tags, at most %d", len(tags), MaxTags)
	}
	total := 0
	for key, value := range tags {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return fmt.Errorf("tag %q is not UTF-8", key)
		}
		total += len(key) + len(value)
	}
	if total > maxTagBytes {
		return fmt.Errorf("tags of %d bytes, at most %d", total, maxTagBytes)
	}
	return nil
}

// checkAddrs insists on literal addresses: a name would make whoever is handed the list ask a DNS server about it.
func checkAddrs(addrs []string) error {
	if len(addrs) > MaxAddrs {
		return fmt.Errorf("%d addresses, at most %d", len(addrs), MaxAddrs)
	}
	for _, addr := range addrs {
		if len(addr) > maxAddr {
			return fmt.Errorf("address of %d bytes, at most %d", len(addr), maxAddr)
		}
		if a, err := netip.ParseAddrPort(addr); err != nil || a.Port() == 0 {
			return fmt.Errorf("address %q is not ip:port", addr)
		}
	}
	return nil
}

func checkCandidates(candidates [][]string) error {
	if len(candidates) > MaxCandidates {
		return fmt.Errorf("%d candidates, at most %d", len(candidates), MaxCandidates)
	}
	for _, addrs := range candidates {
		if err := checkAddrs(addrs); err != nil {
			return fmt.Errorf("candidate: %w", err)
		}
	}
	return nil
}

// fitCandidates returns as many of the first candidates as count and room (bytes of their CBOR) allow. They stand in
// rank order, so what is left out matters least.
func fitCandidates(candidates [][]string, room int) [][]string {
	room -= maxHead
	for i, addrs := range candidates {
		room -= headSize(uint64(len(addrs)))
		for _, addr := range addrs {
			room -= headSize(uint64(len(addr))) + len(addr)
		}
		if room < 0 || i == MaxCandidates {
			return candidates[:i]
		}
	}
	return candidates
}

// cutText cuts a sentence to what a body may hold, and makes it UTF-8.
func cutText(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return toValidUTF8(s)
}
