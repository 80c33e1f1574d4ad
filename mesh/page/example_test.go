package page_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/page"
)

func ExampleListen() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node, err := mesh.Join(ctx, mesh.Config{Name: "a", Bind: "127.0.0.1", NoMDNS: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()

	p, err := page.Listen(node, "127.0.0.1:0", page.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	// A browser opens p.URL(). A program asks for the same:
	defer http.DefaultClient.CloseIdleConnections()
	res, err := http.Get(p.URL() + "healthz")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	fmt.Print(string(text))
	// Output: ok
}
