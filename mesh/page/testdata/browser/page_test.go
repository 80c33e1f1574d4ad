package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// drawn is the names in the drawing and in the table, one after the other, sorted.
const drawn = `[...document.querySelectorAll("#mesh g[data-name]"), ...document.querySelectorAll("#nodes tr[data-name]")].map((e) => e.dataset.name).sort().join(" ")`

func TestNodesAppearAndVanish(t *testing.T) {
	b := newTab(t)
	m := meshtest.New(t, "a", "b", "c")
	b.open(listen(t, m.Node("b"), "127.0.0.1:0"))
	b.await("the nodes", drawn+` === "a a b b c c"`)
	m.Dial("d")
	b.await("d", drawn+` === "a a b b c c d d"`)
	b.await("word of it", `document.querySelector("#log").innerText.includes("d joined")`)
	if err := m.Node("d").Pause(); err != nil {
		t.Fatal(err)
	}
	b.await("d paused", `document.querySelector("#mesh g[data-name=d]").classList.contains("paused") && document.querySelector("#nodes tr[data-name=d] .state").textContent === "paused"`)
	b.await("its round trip", `/[µm]s/.test(document.querySelector("#nodes tr[data-name=d] .number").textContent)`)
	m.Stop("d")
	b.await("d's end", drawn+` === "a a b b c c"`)
	m.Kill("c")
	b.await("c's end", drawn+` === "a a b b"`)
	b.await("word of it", `document.querySelector("#log").innerText.includes("c left: lost")`)
	b.clean()
}

func TestSend(t *testing.T) {
	b := newTab(t)
	m := meshtest.New(t, "a", "b")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b.open(listen(t, m.Node("a"), "127.0.0.1:0"))
	const text = `<b onclick=alert(1)>good "morning"</b> ☕`
	b.run(chromedp.SendKeys("#to", "b"), chromedp.SendKeys("#text", text+"\r"))
	got, err := m.Node("b").Receive(ctx)
	if err != nil || got.Text() != text || got.From != "a" {
		t.Fatalf("%q from %q, %v", got.Text(), got.From, err)
	}
	b.await("the outcome", `document.querySelector("#outcome").textContent === "delivered: in the inbox of b"`)
	b.await("an empty line for the next", `document.querySelector("#text").value === "" && document.activeElement.id === "text"`)
	b.run(chromedp.SetValue("#to", "nobody"), chromedp.Click("#send button"))
	b.await("what waits", `document.querySelector("#outcome").textContent.startsWith("queued: nobody is not here") && document.querySelector("#streams").innerText.includes("nobody")`)
	b.clean()
	b.run(chromedp.SetValue("#to", "<i>"), chromedp.Click("#send button"))
	b.await("a refusal", `document.querySelector("#outcome").className === "failed" && !document.querySelector("#outcome *")`)
}

func TestRelayChange(t *testing.T) {
	b := newTab(t)
	m := meshtest.New(t, "a", "b", "c")
	b.open(listen(t, m.Node("c"), "127.0.0.1:0"))
	b.await("the relay", `document.querySelector("#mesh .relay")?.dataset.name === "a" && document.querySelector("#not-relay").textContent.includes("see the page of a")`)
	m.Kill("a")
	b.await("another relay in the middle", `["b", "c"].includes(document.querySelector("#mesh .relay")?.dataset.name)`)
	relay := m.Relay()
	b.await("it", fmt.Sprintf(`document.querySelector("#mesh .relay").dataset.name === %q && document.querySelector("#reigns li b").textContent === %q`, relay, relay))
	b.await("the handover", `document.querySelector("[data-api=handovers]").textContent === "1" && /after .*s without a relay/.test(document.querySelector("#reigns").innerText)`)
	b.await("what only the relay knows", fmt.Sprintf(`(getComputedStyle(document.querySelector("div.relaying")).display === "none") === %v`, relay != "c"))
	b.clean()
}

// What others choose is text.
func TestHostileNames(t *testing.T) {
	b := newTab(t)
	evil := `"><img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`
	m := meshtest.NewWith(t, func(cfg *mesh.Config) {
		if cfg.Name == "b" {
			cfg.Tags = map[string]string{evil: evil}
		}
	}, "a", "b")
	b.open(listen(t, m.Node("a"), "127.0.0.1:0"))
	b.await("the tag", `document.querySelector("#nodes").innerText.includes("onerror")`)
	if n := eval[int](b, `document.querySelectorAll("img, script:not([src])").length`); n != 0 {
		t.Errorf("%d elements of somebody else's", n)
	}
	if title := eval[string](b, "document.title"); strings.Contains(title, "taken") {
		t.Error(title)
	}
	b.clean()
}

// Every number on the page is that of /api/ and /metrics.
func TestNumbersAgree(t *testing.T) {
	b := newTab(t)
	m := meshtest.New(t, "a", "b", "c")
	for range 5 {
		if err := m.Node("b").Deliver(t.Context(), "a", "hello"); err != nil {
			t.Fatal(err)
		}
	}
	p := listen(t, m.Node("a"), "127.0.0.1:0")
	b.open(p)
	get := func(path string) string {
		res, err := http.Get(p.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	type number struct{ API, Metric, Value, Text string }
	for try := 0; ; try++ {
		numbers := eval[[]number](b, `[...document.querySelectorAll("[data-api]")].map((e) => ({API: e.dataset.api, Metric: e.dataset.metric ?? "", Value: e.dataset.value, Text: e.textContent}))`)
		var status map[string]any
		if err := json.Unmarshal([]byte(get("api/status")), &status); err != nil {
			t.Fatal(err)
		}
		metrics := samples(t, get("metrics"))
		serial := fmt.Sprint(metrics["ultrasockets_page_samples_total"])
		if serial != fmt.Sprint(status["serial"]) || serial != find(numbers, func(n number) bool { return n.API == "serial" }).Value {
			if try > 1000 {
				t.Fatal("no sample could be read in three ways")
			}
			continue // another sample was taken meanwhile
		}
		compared := 0
		for _, n := range numbers {
			want := field(status, n.API)
			if n.Value != text(want) {
				t.Errorf("%s is %q on the page, %v in /api/", n.API, n.Value, want)
			}
			if want == nil && n.Text != "–" || want != nil && n.Text == "" {
				t.Errorf("%s is %v, written %q", n.API, want, n.Text)
			}
			if got, ok := metrics[n.Metric]; n.Metric != "" && (ok != (want != nil) || ok && text(got) != n.Value) {
				t.Errorf("%s is %q on the page, %v in /metrics", n.Metric, n.Value, got)
			}
			compared++
		}
		if compared < 70 || find(numbers, func(n number) bool { return n.API == "messages.received" }).Text != "5" {
			t.Errorf("%d numbers: %v", compared, numbers)
		}
		t.Logf("%d numbers on the page, in /api/status and in /metrics", compared)
		break
	}
	b.clean()
}

func find[T any](list []T, ok func(T) bool) (none T) {
	for _, one := range list {
		if ok(one) {
			return one
		}
	}
	return none
}

func field(object any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		m, _ := object.(map[string]any)
		object = m[key]
	}
	return object
}

// text writes a value as JavaScript does.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		if v != 0 && v < 1e-6 {
			return strings.Replace(strconv.FormatFloat(v, 'e', -1, 64), "e-0", "e-", 1)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// samples are those of the text format of Prometheus that this page has: without time stamps.
func samples(t *testing.T, text string) map[string]float64 {
	out := make(map[string]float64)
	for _, m := range regexp.MustCompile(`(?m)^(ultrasockets_\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		out[m[1]] = v
	}
	return out
}

// With a token: the printed address works, also the events, and nothing works without.
func TestToken(t *testing.T) {
	b := newTab(t)
	m := meshtest.New(t, "a", "b")
	p := listen(t, m.Node("a"), "0.0.0.0:0")
	bare, _, _ := strings.Cut(p.URL(), "?")
	b.run(chromedp.Navigate(bare))
	if text := eval[string](b, "document.body.innerText"); !strings.Contains(text, "a token is needed") {
		t.Error(text)
	}
	b.open(p)
	if got := eval[string](b, "location.href"); got != bare {
		t.Errorf("the address is %s", got)
	}
	b.await("the nodes", drawn+` === "a a b b"`)
	for _, text := range b.said() {
		// The browser tells of the first answer, and of the icon that it looks for by itself beside it.
		if !strings.Contains(text, "401 (Unauthorized) ("+bare+")") && !strings.Contains(text, "401 (Unauthorized) ("+bare+"favicon.ico)") {
			t.Errorf("on the console: %s", text)
		}
	}
}

// When the node goes the page says so.
func TestConnectionLost(t *testing.T) {
	b := newTab(t)
	m := meshtest.New(t, "a", "b")
	b.open(listen(t, m.Node("a"), "127.0.0.1:0"))
	b.clean()
	m.Kill("a")
	b.await("word of it", `document.querySelector("#live").textContent === "not connected, trying again" && document.body.classList.contains("stale")`)
}

func TestAccessible(t *testing.T) {
	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Skipf("axe-core is not here (%v); run npm ci", err)
	}
	b := newTab(t)
	s := newScene(t, true)
	b.open(s.page)
	s.settle(b)
	for _, width := range []int64{1280, 390} {
		for _, scheme := range []string{"light", "dark"} {
			b.look(width, scheme)
			if over := eval[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
				t.Errorf("%d wide: %d pixels stand out", width, over)
			}
			eval[any](b, string(axe)+"; null")
			found := eval[[]struct {
				ID, Impact, Help string
				Nodes            []struct{ HTML, FailureSummary string }
			}](b, `axe.run({reporter: "v2"}).then((r) => r.violations)`)
			for _, v := range found {
				for _, n := range v.Nodes {
					t.Errorf("%d wide, %s: %s (%s): %s\n%s\n%s", width, scheme, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
				}
			}
		}
	}
	b.clean()
}
