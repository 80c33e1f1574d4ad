package mesh_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"ultrasockets/mesh"
)

// chat says every line of in to everybody, and prints what the others say, until in ends.
func chat(ctx context.Context, node *mesh.Node, in io.Reader, out io.Writer) error {
	var printing sync.WaitGroup
	printing.Go(func() {
		for m := range node.Messages(ctx) {
			fmt.Fprintf(out, "%s: %s\n", m.From, m.Text())
		}
	})
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if err := node.Send(ctx, mesh.ToAll, lines.Text()); err != nil {
			log.Print(err)
		}
	}
	err := node.Shutdown(ctx) // what was said arrives before this one leaves
	printing.Wait()
	return err
}

// A chat without a server and without an address: whoever starts it is in. Its whole main, on a LAN, is
//
//	node, err := mesh.Join(ctx, mesh.Config{Name: os.Args[1]})
//	...
//	err = chat(ctx, node, os.Stdin, os.Stdout)
func Example_chat() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ann, err := mesh.Join(ctx, quiet("ann")) // loopback only, for this is a test
	if err != nil {
		log.Fatal(err)
	}
	bob, err := mesh.Join(ctx, quiet("bob", ann.Addr().String()))
	if err != nil {
		log.Fatal(err)
	}
	ann.WaitFor(ctx, "bob")
	ann.Deliver(ctx, mesh.ToAll, "anybody here?")
	chat(ctx, bob, strings.NewReader("hello ann\nI must go\n"), os.Stdout)
	chat(ctx, ann, strings.NewReader(""), os.Stdout)
	// Output:
	// ann: anybody here?
	// bob: hello ann
	// bob: I must go
}
