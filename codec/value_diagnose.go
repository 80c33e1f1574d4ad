package codec

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var valueDiag = must(cbor.DiagOptions{
	MaxNestedLevels:  2 * MaxDepth,
	MaxArrayElements: MaxItems,
	MaxMapPairs:      MaxItems,
}.DiagMode())

// Diagnose returns b, one data item, in the diagnostic notation of RFC 8949 section 8, for people to read. What is no
// such item comes as hexadecimal with the reason.
func Diagnose(b []byte) string {
	err := scanValue(b)
	if err == nil {
		var s string
		if s, err = valueDiag.Diagnose(b); err == nil {
			return s
		}
	}
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("h'%x'… (%v)", b[:most], err)
	}
	return fmt.Sprintf("h'%x' (%v)", b, err)
}
