// Package browser looks at the page of package mesh/page with a real browser.
package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"ultrasockets/mesh"
	"ultrasockets/mesh/page"
)

var (
	shots   = flag.String("shots", "", "folder for screenshots")
	traffic = flag.Duration("traffic", 20*time.Second, "how long there is traffic before a screenshot")
)

const patience = 30 * time.Second // no wait is longer, on the slowest machine

// chromium is the browser's program; the test is skipped without one.
func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROME"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no Chromium here; install it, or name it with the variable CHROME")
	return ""
}

// tab is an open page.
type tab struct {
	t   *testing.T
	ctx context.Context

	messages chan chromedp.ConsoleMessage // of the console, in order
	asked    int
}

// newTab starts a browser of its own.
func newTab(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.Flag("disable-dev-shm-usage", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // root has no sandbox
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	b := &tab{t: t, ctx: ctx, messages: make(chan chromedp.ConsoleMessage, 1000)}
	console := chromedp.Console(ctx) // starts the browser
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m, err := range console {
			if err != nil {
				return
			}
			b.messages <- m
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return b
}

// said is what the console has said since it was last asked, but for what is only told, not complained of.
func (b *tab) said() (complaints []string) {
	b.t.Helper()
	b.asked++
	mark := fmt.Sprintf("read %d times", b.asked)
	do[any](b, chromedp.Evaluate[any](fmt.Sprintf("console.log(%q)", mark)))
	for {
		select {
		case m := <-b.messages:
			switch {
			case m.Text == mark:
				return complaints
			case m.Type != "log" && m.Type != "info" && m.Type != "debug":
				complaints = append(complaints, fmt.Sprintf("%s: %s (%s)", m.Type, m.Text, m.URL))
			}
		case <-time.After(patience):
			b.t.Fatal("the console is silent")
		}
	}
}

// clean wants no complaint on the console.
func (b *tab) clean() {
	b.t.Helper()
	if said := b.said(); len(said) > 0 {
		b.t.Errorf("on the console:\n%s", strings.Join(said, "\n"))
	}
}

// do runs an action and gives its result.
func do[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// run runs actions that have no result.
func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	do(b, chromedp.Steps(actions...))
}

// eval gives what an expression is in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return do(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// await waits until an expression is true in the page.
func (b *tab) await(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
		b.t.Fatalf("waited in vain for %s: %v; the page says:\n%s", what, err, eval[string](b, "document.body.innerText"))
	}
}

// look makes the window so wide, and the colours so.
func (b *tab) look(width int64, scheme string) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// open shows the page of a node.
func (b *tab) open(p *page.Page) {
	b.t.Helper()
	b.run(chromedp.Navigate(p.URL()))
	b.await("the first event", `document.querySelector("#live").textContent === "live" && document.querySelector("[data-api=serial]").dataset.value > 0`)
}

func listen(t *testing.T, node *mesh.Node, addr string) *page.Page {
	t.Helper()
	opt := page.Options{Interval: 200 * time.Millisecond}
	if *shots != "" {
		opt.Interval = 0
	}
	p, err := page.Listen(node, addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
