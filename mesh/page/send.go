package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"ultrasockets/mesh"
)

const (
	maxSending   = 16              // messages under way
	maxBody      = 1 << 20         // bytes of a request
	sendPatience = 3 * time.Second // for the receiver's word that it has the message
)

// sendRequest is the body of POST /api/send.
type sendRequest struct {
	To   string  `json:"to"`   // a name, "@group", or "@" for all others
	Text *string `json:"text"` // may be empty, and must be there
}

// send answers POST /api/send.
func (p *Page) send(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, text string) { writeJSON(w, status, Outcome{"failed", text}) }
	control := http.NewResponseController(w)
	now := time.Now()
	if control.SetReadDeadline(now.Add(answerTimeout)) != nil || control.SetWriteDeadline(now.Add(2*answerTimeout)) != nil {
		return
	}
	// A form on another site cannot send this type without being asked first.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		fail(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
		return
	}
	var req sendRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil || req.Text == nil || d.Decode(&struct{}{}) != io.EOF {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the message is larger than %d bytes", maxBody))
			return
		}
		fail(http.StatusBadRequest, `the body must be {"to": "NAME", "text": "MESSAGE"}`)
		return
	}
	select {
	case p.sending <- struct{}{}:
		defer func() { <-p.sending }()
	default:
		fail(http.StatusTooManyRequests, fmt.Sprintf("%d messages are under way already; wait for some", maxSending))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sendPatience)
	defer cancel()
	status, outcome := p.deliver(ctx, req.To, *req.Text)
	writeJSON(w, status, outcome)
}

// deliver sends a text, and says what became of it.
func (p *Page) deliver(ctx context.Context, to, text string) (int, Outcome) {
	here := p.members(to)
	switch {
	case strings.HasPrefix(to, mesh.ToAll) && len(here) == 0:
		return http.StatusConflict, Outcome{"failed", "nobody else is in " + groupName(to)}
	case len(here) == 0:
		if err := p.node.Send(ctx, to, text); err != nil {
			return failed(err)
		}
		text := to + " is not here; the message waits for it, for as long as this node keeps such messages"
		return http.StatusAccepted, Outcome{"queued", text}
	}
	err := p.node.Deliver(ctx, to, text)
	switch {
	case err == nil && strings.HasPrefix(to, mesh.ToAll):
		return http.StatusOK, Outcome{"delivered", "in the inbox of " + strings.Join(here, ", ")}
	case err == nil:
		return http.StatusOK, Outcome{"delivered", "in the inbox of " + to}
	case errors.Is(err, context.DeadlineExceeded):
		text := fmt.Sprintf("not in the inbox yet after %v; it stays queued: %v", sendPatience, withoutContext(err))
		return http.StatusAccepted, Outcome{"queued", text}
	}
	return failed(err)
}

// members are the nodes that a message to that address is for and that are here.
func (p *Page) members(to string) []string {
	group, isGroup := strings.CutPrefix(to, mesh.ToAll)
	var names []string
	for _, peer := range p.node.Peers() {
		if isGroup && !peer.Self && (group == "" || slices.Contains(peer.Groups, group)) || !isGroup && peer.Name == to {
			names = append(names, peer.Name)
		}
	}
	return names
}

func groupName(to string) string {
	if to == mesh.ToAll {
		return "the mesh"
	}
	return "group " + strings.TrimPrefix(to, mesh.ToAll)
}

func failed(err error) (int, Outcome) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, mesh.ErrBadName), errors.Is(err, mesh.ErrTooLarge), errors.Is(err, mesh.ErrValue):
		status = http.StatusBadRequest
	case errors.Is(err, mesh.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		status = http.StatusServiceUnavailable
	}
	return status, Outcome{"failed", withoutContext(err)}
}

// withoutContext leaves out what a person learns nothing from.
func withoutContext(err error) string {
	text := strings.TrimSuffix(err.Error(), ": "+context.DeadlineExceeded.Error())
	return strings.ReplaceAll(text, "\n", "; ")
}
