package page

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

const minToken = 16 // characters

// policy lets the page load nothing but its own files, and nobody else show it in a frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard lets through what this machine's own page or program asks, with the token if there is one.
func (p *Page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.answer() {
			http.Error(w, "the node has ended", http.StatusServiceUnavailable)
			return
		}
		defer p.answers.Done()
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case !p.knownHost(r.Host):
			// A name that somebody else points at this machine: DNS rebinding.
			const text = "this page is not served under that host name; ask for it by IP address, or by the name given to it"
			http.Error(w, text, http.StatusMisdirectedRequest)
		case foreign(r):
			http.Error(w, "a page of another site may not ask this", http.StatusForbidden)
		case p.opt.Token != "" && !p.authorized(w, r):
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (p *Page) knownHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true // nobody else answers for the address that was dialled
	}
	return p.hosts[canonicalHost(host)]
}

func canonicalHost(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// foreign tells whether another site's page made the browser ask. A link to the page itself is good from anywhere.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return r.Method != http.MethodGet || r.URL.Path != "/" || r.Header.Get("Sec-Fetch-Mode") != "navigate"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Scheme != "http" && u.Scheme != "https" || !strings.EqualFold(u.Host, r.Host)
}

// authorized tells whether the request has the token; if not, or if it brought it in the address of the page, it is
// answered here.
func (p *Page) authorized(w http.ResponseWriter, r *http.Request) bool {
	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && same(given, p.opt.Token) {
		return true
	}
	if c, err := r.Cookie(p.cookie); err == nil && same(c.Value, p.cookieValue()) && !r.URL.Query().Has("token") {
		return true
	}
	if r.Method == http.MethodGet && same(r.URL.Query().Get("token"), p.opt.Token) {
		if r.URL.Path != "/" {
			return true
		}
		// Out of the address line and the history, into a cookie.
		http.SetCookie(w, &http.Cookie{
			Name: p.cookie, Value: p.cookieValue(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return false
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="ultrasockets"`)
	const text = `a token is needed: open the address that was printed when the page began, or send "Authorization: Bearer TOKEN"`
	http.Error(w, text, http.StatusUnauthorized)
	return false
}

// cookieValue stands for the token, in letters that a cookie may have.
func (p *Page) cookieValue() string {
	sum := sha256.Sum256([]byte("ultrasockets page " + p.opt.Token))
	return hex.EncodeToString(sum[:])
}

// same compares in a time that tells nothing.
func same(given, want string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
