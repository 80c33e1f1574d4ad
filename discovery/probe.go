package discovery

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/hashicorp/memberlist"
)

// A probe asks a node's gossip whether it is there, with the library's own ping, and takes no part in gossip: who is
// pinged learns of no new member. The library itself would tell of us with its first packet, so the few bytes are made
// here. Their layout is that of memberlist 0.7 (net.go, security.go, label.go):
//
//	packet:  label header | ping                       or  label header | sealed(ping)
//	stream:  label header | ping, and back: ack        or  … | 10 | length | sealed(ping), and back likewise
//	ping:    0 | MessagePack {SeqNo, Node}                 ack: 2 | MessagePack {SeqNo, Payload}
//	sealed:  1 | nonce, 12 bytes | AES-GCM of the message; authenticated with it: 10 | length (streams only) | label
//
// The label is the hash of the mesh's name.
const (
	gossipPing     = 0
	gossipAck      = 2
	gossipCompound = 7 // an ack with news beside it
	gossipSealed   = 10
	gossipCRC      = 12

	sealVersion   = 1
	probePause    = 250 * time.Millisecond // between two packets: some are lost
	maxProbeReply = 1 << 16                // bytes
	nonceBytes    = 12
)

// ErrNoGossip: something answered, and it does not speak the gossip of this mesh, or not with this key.
var ErrNoGossip = errors.New("discovery: no gossip of this mesh is spoken there")

// Probe is who asks, and of which mesh.
type Probe struct {
	Mesh string
	Key  []byte     // nil: open
	Bind netip.Addr // the address to ask from; not valid: any
}

// Packets asks by UDP, again and again, until the node at addr answers or ctx ends; it returns the time from the question
// before to the answer. An answer proves that packets pass both ways.
func (p Probe) Packets(ctx context.Context, addr netip.AddrPort) (time.Duration, error) {
	var from *net.UDPAddr
	if p.Bind.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Bind, 0))
	}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	question, err := p.seal(ping(), nil)
	if err != nil {
		return 0, err
	}
	question = append(p.header(), question...)
	buf := make([]byte, maxProbeReply)
	var failed error
	for {
		asked := time.Now()
		if _, err := conn.Write(question); err != nil {
			failed = err
		}
		_ = conn.SetReadDeadline(asked.Add(probePause))
		n, err := conn.Read(buf)
		switch {
		case err == nil && p.isAck(buf[:n]):
			return time.Since(asked), nil
		case err == nil:
			failed = ErrNoGossip
		case !errors.Is(err, os.ErrDeadlineExceeded):
			failed = err
		}
		select {
		case <-ctx.Done():
			return 0, errors.Join(failed, context.Cause(ctx))
		case <-time.After(time.Until(asked.Add(probePause))):
		}
	}
}

// Stream asks by TCP, once, over a connection to the node, which stays the caller's.
func (p Probe) Stream(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	question := ping()
	if p.Key != nil {
		head := binary.BigEndian.AppendUint32([]byte{gossipSealed}, uint32(sealedSize(len(question))))
		sealed, err := p.seal(question, head)
		if err != nil {
			return err
		}
		question = append(head, sealed...)
	}
	if _, err := conn.Write(append(p.header(), question...)); err != nil {
		return err
	}
	answer, err := p.readStream(conn)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrNoGossip // it read the question, and hung up
	case err != nil:
		return err
	case answer != gossipAck:
		return ErrNoGossip
	}
	return nil
}

// readStream returns the first byte of what gossip answers on a stream.
func (p Probe) readStream(conn io.Reader) (byte, error) {
	head := make([]byte, 1+4)
	if p.Key == nil {
		head = head[:1]
	}
	if _, err := io.ReadFull(conn, head); err != nil || p.Key == nil {
		return head[0], err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != gossipSealed || size > maxProbeReply {
		return 0, ErrNoGossip
	}
	sealed := make([]byte, size)
	if _, err := io.ReadFull(conn, sealed); err != nil {
		return 0, err
	}
	message, err := p.unseal(sealed, head)
	if err != nil || len(message) == 0 {
		return 0, ErrNoGossip
	}
	return message[0], nil
}

// ping is the question, to whoever is there.
func ping() []byte {
	const (
		mapOf2, text4, text5, noText, number = 0x82, 0xa4, 0xa5, 0xa0, 0xce // MessagePack
	)
	b := append([]byte{gossipPing, mapOf2, text5}, "SeqNo"...)
	b = append(b, number)
	b = append(b, random(4)...)
	b = append(append(b, text4), "Node"...)
	return append(b, noText)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return b
}

func (p Probe) label() string { return meshHash(p.Mesh) }

func (p Probe) header() []byte { return append([]byte{StreamByte, byte(len(p.label()))}, p.label()...) }

func sealedSize(n int) int { return 1 + nonceBytes + n + aes.BlockSize }

// seal encrypts a message if there is a key. head stands before it and is authenticated with it.
func (p Probe) seal(message, head []byte) ([]byte, error) {
	if p.Key == nil {
		return message, nil
	}
	gcm, err := p.cipher()
	if err != nil {
		return nil, err
	}
	nonce := random(nonceBytes)
	return gcm.Seal(append([]byte{sealVersion}, nonce...), nonce, message, append(head[:len(head):len(head)], p.label()...)), nil
}

// unseal is the reverse of seal, with a key. The error wraps ErrNoGossip if somebody else sealed it.
func (p Probe) unseal(sealed, head []byte) ([]byte, error) {
	gcm, err := p.cipher()
	if err != nil {
		return nil, err
	}
	if len(sealed) < sealedSize(0) || sealed[0] != sealVersion {
		return nil, ErrNoGossip
	}
	message, err := gcm.Open(nil, sealed[1:1+nonceBytes], sealed[1+nonceBytes:], append(head[:len(head):len(head)], p.label()...))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoGossip, err)
	}
	return message, nil
}

func (p Probe) cipher() (cipher.AEAD, error) {
	block, err := aes.NewCipher(p.Key)
	if err != nil {
		return nil, fmt.Errorf("discovery: key: %w", err)
	}
	return cipher.NewGCM(block)
}

// isAck tells whether a packet is what gossip answers to a ping.
func (p Probe) isAck(b []byte) bool {
	b, label, err := memberlist.RemoveLabelHeaderFromPacket(b)
	if err != nil || label != p.label() {
		return false
	}
	if p.Key != nil {
		if b, err = p.unseal(b, nil); err != nil {
			return false
		}
	}
	return len(b) > 0 && (b[0] == gossipAck || b[0] == gossipCompound || b[0] == gossipCRC)
}
