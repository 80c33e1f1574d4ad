package main

import (
	"fmt"
	"slices"
	"strings"
)

// pair is a sender and a receiver.
type pair struct{ from, to string }

// ledger compares what was sent with what was printed by the receivers. A message is its JSON; no two of one pair are
// the same. Not safe for concurrent use.
type ledger struct {
	sent map[pair][]string
	got  map[pair][]string
}

func newLedger() *ledger {
	return &ledger{sent: make(map[pair][]string), got: make(map[pair][]string)}
}

func (l *ledger) sends(p pair, message string)   { l.sent[p] = append(l.sent[p], message) }
func (l *ledger) arrives(p pair, message string) { l.got[p] = append(l.got[p], message) }

func (l *ledger) counts() (sent, got int) {
	for _, m := range l.sent {
		sent += len(m)
	}
	for _, m := range l.got {
		got += len(m)
	}
	return sent, got
}

// complaints says of every pair what was lost, came twice, out of order, or was never sent; nil if all is well.
func (l *ledger) complaints() []string {
	pairs := make([]pair, 0, len(l.sent))
	for p := range l.sent {
		pairs = append(pairs, p)
	}
	for p := range l.got {
		if l.sent[p] == nil {
			pairs = append(pairs, p)
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.from+"\x00"+a.to, b.from+"\x00"+b.to) })
	var out []string
	for _, p := range pairs {
		for _, text := range compare(l.sent[p], l.got[p]) {
			out = append(out, fmt.Sprintf("%s -> %s: %s", p.from, p.to, text))
		}
	}
	return out
}

// compare says what is wrong with got, which should be sent.
func compare(sent, got []string) []string {
	if slices.Equal(sent, got) {
		return nil
	}
	place := make(map[string]int, len(sent))
	for i, m := range sent {
		place[m] = i
	}
	count := make(map[string]int, len(got))
	var twice, strange, late []string
	highest := -1
	for _, m := range got {
		i, known := place[m]
		count[m]++
		switch {
		case !known:
			strange = append(strange, m)
		case count[m] > 1:
			twice = append(twice, m)
		case i < highest:
			late = append(late, m)
		default:
			highest = i
		}
	}
	missing := slices.DeleteFunc(slices.Clone(sent), func(m string) bool { return count[m] > 0 })
	var out []string
	for _, c := range []struct {
		what string
		list []string
	}{{"missing", missing}, {"arrived twice", twice}, {"out of order", late}, {"never sent", strange}} {
		if len(c.list) > 0 {
			out = append(out, fmt.Sprintf("%d %s: %s", len(c.list), c.what, sample(c.list)))
		}
	}
	return out
}

// sample shows the first few, shortened.
func sample(list []string) string {
	var shown []string
	for _, m := range list[:min(len(list), 3)] {
		shown = append(shown, shorten(m, 60))
	}
	if len(list) > 3 {
		shown = append(shown, "…")
	}
	return strings.Join(shown, ", ")
}

func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
