package page

import (
	"net/http"
	"strings"
	"testing"

	"ultrasockets/mesh/meshtest"
)

func TestForeignRequestsAreRefused(t *testing.T) {
	_, c := serveMesh(t, "a")
	own := strings.TrimSuffix(strings.TrimPrefix(c.page.URL(), "http://"), "/")
	port := own[strings.LastIndex(own, ":"):]
	const good, misdirected, forbidden = http.StatusOK, http.StatusMisdirectedRequest, http.StatusForbidden
	for _, one := range []struct {
		path   string
		header []string
		status int
	}{
		{"/", nil, good},
		{"/", []string{"Host", "localhost" + port}, good},
		{"/", []string{"Host", "LocalHost." + port}, good},
		{"/", []string{"Host", "[::1]" + port}, good},
		{"/", []string{"Host", "192.168.1.5"}, good}, // through a tunnel, say
		{"/", []string{"Host", "evil.example" + port}, misdirected},
		{"/api/status", []string{"Host", "evil.example" + port}, misdirected},
		{"/api/status", []string{"Host", "127.0.0.1.evil.example"}, misdirected},
		{"/api/events", []string{"Host", "evil.example"}, misdirected},
		{"/metrics", []string{"Host", "evil.example"}, misdirected},
		{"/healthz", []string{"Host", "evil.example"}, misdirected},
		{"/api/status", []string{"Origin", "http://" + own}, good},
		{"/api/status", []string{"Origin", "http://evil.example"}, forbidden},
		{"/api/status", []string{"Origin", "http://127.0.0.1:1"}, forbidden},
		{"/api/status", []string{"Origin", "null"}, forbidden},
		{"/api/events", []string{"Origin", "http://evil.example"}, forbidden},
		{"/api/status", []string{"Sec-Fetch-Site", "same-origin"}, good},
		{"/api/status", []string{"Sec-Fetch-Site", "none"}, good},
		{"/api/status", []string{"Sec-Fetch-Site", "cross-site"}, forbidden},
		{"/api/events", []string{"Sec-Fetch-Site", "same-site"}, forbidden},
		{"/page.js", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, forbidden},
		{"/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, good}, // a link
		{"/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, forbidden},
		{"/api/send", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, forbidden},
		{"/api/send", []string{"Origin", "http://evil.example"}, forbidden},
		{"/api/send", []string{"Origin", "http://" + own}, good},
		{"/api/send", []string{"Host", "evil.example"}, misdirected},
	} {
		method, body := "GET", ""
		if one.path == "/api/send" {
			method, body = "POST", `{"to":"a","text":"x"}`
			one.header = append(one.header, "Content-Type", "application/json")
		}
		if res, text := c.do(method, one.path, body, one.header...); res.StatusCode != one.status {
			t.Errorf("%s %s %q: %s %.100s", method, one.path, one.header, res.Status, text)
		}
	}
}

func TestToken(t *testing.T) {
	const token = "0123456789 abcdef;\"" // not what a cookie may have
	m := meshtest.New(t, "a")
	c := serve(t, m.Node("a"), Options{Token: token})
	const asked, good, away = http.StatusUnauthorized, http.StatusOK, http.StatusSeeOther
	for _, path := range paths() {
		for _, header := range [][]string{nil, {"Authorization", "Bearer 0123456789 abcdef"}, {"Authorization", token}, {"Cookie", c.page.cookie + "=" + token}, {"Cookie", c.page.cookie + "="}} {
			if res, _ := c.do("GET", path, "", header...); res.StatusCode != asked {
				t.Errorf("%s %q: %s", path, header, res.Status)
			}
		}
		if res, _ := c.do("GET", path, "", "Authorization", "Bearer "+token); res.StatusCode != good {
			t.Errorf("%s with the token: %s", path, res.Status)
		}
		if res, _ := c.do("GET", path, "", "Cookie", c.page.cookie+"="+c.page.cookieValue()); res.StatusCode != good {
			t.Errorf("%s with the cookie: %s", path, res.Status)
		}
		if res, _ := c.do("GET", path+"?token=wrong", ""); res.StatusCode != asked {
			t.Errorf("%s with a wrong token: %s", path, res.Status)
		}
	}
	send := func(header ...string) int {
		res, _ := c.do("POST", "/api/send", `{"to":"a","text":"x"}`, append(header, "Content-Type", "application/json")...)
		return res.StatusCode
	}
	if send() != asked || send("Authorization", "Bearer "+token) != good {
		t.Error("who may send")
	}
	if got := len(m.Node("a").Get(-1)); got != 1 {
		t.Errorf("%d messages arrived", got)
	}

	// The printed address gives the browser a cookie, and takes the token out of the address.
	res, _ := c.do("GET", "/"+c.page.URL()[strings.Index(c.page.URL(), "?"):], "")
	cookies := res.Cookies()
	if res.StatusCode != away || res.Header.Get("Location") != "/" || len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
		t.Fatal(res.Status, res.Header)
	}
	if res, _ := c.do("GET", "/", "", "Cookie", cookies[0].Name+"="+cookies[0].Value); res.StatusCode != good {
		t.Error(res.Status)
	}
}

func TestBeyondLoopbackThereIsAToken(t *testing.T) {
	m := meshtest.New(t, "a")
	p, err := Listen(m.Node("a"), "0.0.0.0:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if len(p.opt.Token) < minToken || !strings.HasSuffix(p.URL(), "/?token="+p.opt.Token) || strings.Contains(p.URL(), "0.0.0.0") {
		t.Error(p.URL())
	}
	other, err := Listen(m.Node("a"), "0.0.0.0:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if other.opt.Token == p.opt.Token {
		t.Error("a token twice")
	}
}
