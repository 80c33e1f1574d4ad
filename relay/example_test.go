package relay_test

import (
	"context"
	"fmt"
	"net"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// printer is a Handler that prints the data it gets.
type printer struct{ got chan struct{} }

func (p printer) HandleFrame(f codec.Raw, _ *relay.Memory) {
	if f.Kind() == codec.KindData && f.Valid() {
		fmt.Printf("%s says %q\n", f.From(), f.Payload())
		close(p.got)
	}
}
func (printer) HandleBatchEnd() (int, int) { return 0, 0 }
func (printer) HandleWritable()            {}

// A hub reigns, a node dials it, and sends a frame to the relay's own node.
func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	hub := relay.NewHub(relay.HubConfig{Mesh: "lab", Own: codec.Hello{Name: "bench", Instance: 1}})
	served := make(chan struct{})
	go func() {
		defer close(served)
		hub.Serve(l)
	}()
	own := hub.Reign(relay.Reign{Term: 1})
	p := printer{got: make(chan struct{})}
	ended := make(chan error)
	go func() { ended <- own.Run(p) }()

	link, err := relay.Dial(context.Background(), l.Addr().String(), relay.DialConfig{Hello: codec.Hello{Name: "scope", Instance: 2}})
	if err != nil {
		fmt.Println(err)
		return
	}
	f := codec.Frame{Kind: codec.KindData, To: "bench", From: "scope", Stream: 7, Flags: codec.FlagFirst, Payload: []byte("hi")}
	link.Write(f.Append(nil), false)
	<-p.got
	link.Close()
	hub.Close()
	fmt.Println(<-ended)
	<-served
	// Output:
	// scope says "hi"
	// closed
}
