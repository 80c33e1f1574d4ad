package browser

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
	"ultrasockets/mesh/page"
)

// scene is a mesh as a lab might have it, with everything that a page can show.
type scene struct {
	t    *testing.T
	mesh *meshtest.Mesh
	page *page.Page
}

var tags = map[string]map[string]string{
	"bench-1":  {"room": "lab 2", "os": "linux"},
	"bench-2":  {"room": "lab 2", "os": "linux"},
	"laptop":   {"owner": "Ada"},
	"sensor-3": {"room": "roof", "firmware": "1.4.2", "battery": "81 %"},
	"sensor-7": {"room": "cellar", "firmware": "1.4.1", "battery": "64 %"},
	"camera":   {"room": "lab 1"},
}

func newScene(t *testing.T, relay bool) *scene {
	t.Helper()
	shown := "bench-1"
	if relay {
		shown = "old-relay"
	}
	m := meshtest.NewWith(t, func(cfg *mesh.Config) {
		cfg.Mesh, cfg.Tags = "lab", tags[cfg.Name]
		if cfg.Name == "bench-1" || cfg.Name == "bench-2" {
			cfg.Groups = []string{"lab"}
		}
		if cfg.Name == "sensor-3" || cfg.Name == "sensor-7" {
			cfg.Groups = []string{"lab", "sensors"}
		}
	}, "old-relay", "bench-1", "bench-2", "laptop", "pi-4")
	s := &scene{t: t, mesh: m, page: listen(t, m.Node(shown), "127.0.0.1:0")}
	for _, name := range []string{"sensor-3", "sensor-7", "camera", "display"} {
		m.Dial(name)
	}
	m.WaitAll()
	if err := m.Node("display").Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.Node("bench-1").Send(ctx, "printer", "is not here"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"laptop", "sensor-3", "pi-4"} {
		if err := m.Node("bench-1").Deliver(ctx, name, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// settle waits until the page shows the scene whole.
func (s *scene) settle(b *tab) {
	b.t.Helper()
	b.await("all nodes", `document.querySelectorAll("#mesh g[data-name]").length === 9`)
	b.await("round trips", `[...document.querySelectorAll("#nodes tbody tr")].filter((r) => r.querySelector(".number").textContent === "–").length === 0`)
}

// traffic sends telemetry to bench-1 and commands from it until ctx ends.
func (s *scene) traffic(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		for range s.mesh.Node("bench-1").Messages(ctx) {
		}
	})
	for i, name := range []string{"sensor-3", "sensor-7", "laptop"} {
		all.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				_ = s.mesh.Node(name).Send(ctx, "bench-1", fmt.Sprint(k))
				rate := 60 + 40*math.Sin(float64(k)/300+float64(i))
				select {
				case <-time.After(time.Duration(float64(time.Second) / rate)):
				case <-ctx.Done():
				}
			}
		})
		all.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				_ = s.mesh.Node("bench-1").Send(ctx, name, fmt.Sprint(k))
				select {
				case <-time.After(time.Duration(20+i*10) * time.Millisecond):
				case <-ctx.Done():
				}
				s.mesh.Node(name).Get(mesh.All)
			}
		})
	}
}

// TestScreenshots makes pictures for people: -shots says where, and -traffic for how long there is traffic before.
func TestScreenshots(t *testing.T) {
	if *shots == "" {
		t.Skip("pictures are made with -shots DIR")
	}
	for _, relay := range []bool{false, true} {
		b := newTab(t)
		s := newScene(t, relay)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.traffic(ctx)
		}()
		b.look(1280, "light")
		b.open(s.page)
		s.settle(b)
		<-time.After(*traffic / 2)
		if !relay {
			s.mesh.Kill("old-relay")
			b.await("another relay", `document.querySelectorAll("#reigns li").length === 2 && document.querySelectorAll("#mesh g[data-name]").length === 8`)
		}
		<-time.After(*traffic / 2)
		b.run(chromedp.SendKeys("#to", "laptop"), chromedp.SendKeys("#text", "coffee?\r"))
		b.await("the outcome", `document.querySelector("#outcome").textContent !== ""`)
		for _, width := range []int64{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				b.look(width, scheme)
				<-time.After(time.Second) // who glides arrives
				s.save(fmt.Sprintf("%s-%d-%s.png", map[bool]string{false: "node", true: "relay"}[relay], width, scheme), do(b, chromedp.FullScreenshot(100)))
			}
		}
		b.look(1180, "light")
		b.run(chromedp.EmulateViewport(1180, 1010))
		<-time.After(time.Second)
		s.save(map[bool]string{false: "page.png", true: "relay-page.png"}[relay], do(b, chromedp.CaptureScreenshot()))
		cancel()
		<-ended
	}
}

func (s *scene) save(name string, png []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(*shots, name), png, 0o644); err != nil {
		s.t.Fatal(err)
	}
}
