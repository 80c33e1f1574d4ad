package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"ultrasockets/mesh/meshtest"
)

// However many nodes there are, they and their names stay inside the drawing, and no name covers another.
func TestLayout(t *testing.T) {
	b := newTab(t)
	m := meshtest.New(t, "a")
	p := listen(t, m.Node("a"), "127.0.0.1:0")
	for _, width := range []int64{1280, 390} {
		b.look(width, "light")
		for _, n := range []int{1, 2, 3, 8, 13, 25, 40, 90, 200, 500} {
			b.run(chromedp.Navigate(p.URL()))
			b.await("the first event", `document.querySelectorAll("#mesh g[data-name]").length === 1`)
			faults := eval[[]string](b, fmt.Sprintf(`(async () => {
				const { Mesh } = await import("/draw.js");
				const root = document.querySelector("#mesh"), nodes = [];
				root.replaceChildren(); // the page's own drawing goes on, unseen
				for (let i = 0; i < %d; i++) nodes.push({ name: "workstation-" + i, state: "ready", relay: i === 0, self: i === 1, tags: {}, round_trip_seconds: 0.000123 });
				const mesh = new Mesh(root);
				mesh.draw(nodes, () => "123.4 ms");
				const faults = [], frame = root.getBoundingClientRect();
				const texts = [...root.querySelectorAll("text.name")].filter((e) => e.textContent);
				const discs = [...root.querySelectorAll(".disc")];
				const boxes = texts.map((e) => e.getBoundingClientRect());
				for (const box of [...root.querySelectorAll("text, .disc, .ring")].map((e) => e.getBoundingClientRect()))
					if (box.width > 0 && (box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom)) faults.push("outside: " + JSON.stringify(box));
				boxes.forEach((a, i) => boxes.slice(0, i).forEach((b, k) => {
					if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) faults.push(texts[i].textContent + " covers " + texts[k].textContent);
				}));
				const centres = discs.map((e) => e.getBoundingClientRect()).map((r) => [r.x + r.width / 2, r.y + r.height / 2]);
				centres.forEach(([x, y], i) => centres.slice(0, i).forEach(([u, v]) => { if (Math.hypot(x - u, y - v) < 8) faults.push("two nodes at one place"); }));
				const more = parseInt(root.querySelector(".more").textContent.slice(4)) || 0;
				if (discs.length + more !== nodes.length || discs.length < Math.min(nodes.length, 100)) faults.push(discs.length + " drawn, " + more + " more");
				return faults;
			})()`, n))
			for i, f := range faults {
				if i < 3 {
					t.Errorf("%d nodes, %d wide: %s (of %d)", n, width, f, len(faults))
				}
			}
			if *shots != "" {
				if err := os.WriteFile(filepath.Join(*shots, fmt.Sprintf("layout-%d-%d.png", width, n)), do(b, chromedp.Screenshot("section.mesh")), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	b.clean()
}
