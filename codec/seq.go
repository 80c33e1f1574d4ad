package codec

// Less reports whether sequence number a comes before b. Numbers wrap, so they compare by signed difference, as in
// serial number arithmetic (RFC 1982): a comes before b if it is less than 2^31 steps behind.
func Less(a, b uint32) bool { return int32(a-b) < 0 }
