// Package page shows a node to people and to programs, over HTTP: a page that is kept current, the same as JSON, metrics
// for Prometheus, and a check of health.
//
//	p, err := page.Listen(node, "127.0.0.1:8017", page.Options{})
//	...
//	fmt.Println(p.URL())
//	defer p.Close()
//
// # What is served
//
//	/                 the page: one document with its style and script, nothing from elsewhere
//	/api/             everything below as one JSON object
//	/api/status       what this node holds and counts (Status)
//	/api/nodes        who is here (Nodes)
//	/api/streams      what waits for which name (Streams)
//	/api/log          the last 200 events (a list of Event), the oldest first
//	/api/reigns       the last 32 relays (a list of Reign), the oldest first
//	/api/history      messages a second, for the last five minutes (a list of Point)
//	/api/events       the same as server-sent events: "whole" at first, then "status", "nodes", "streams", "reigns" and
//	                  "log" (one Event) as they change
//	POST /api/send    {"to": "b", "text": "hello"}, as application/json: sends a message (Outcome)
//	/metrics          for Prometheus
//	/healthz          200 while the node has a relay, else 503 with a sentence
//
// All of it is read from one sample, taken every second and at once when somebody comes or goes; its serial number is in
// the status (serial) and in the metrics (ultrasockets_page_samples_total). What a node cannot know is not there: frames
// that a relay drops are counted at that relay, so they are shown on its own page only.
//
// # Who may look
//
// Whoever reaches the address sees the mesh and sends under the node's name. On a loopback address that is this machine.
// On any other a token is needed, for every path: as "Authorization: Bearer TOKEN", or once as ?token=TOKEN, which a browser
// then keeps as a cookie. HTTP is not encrypted: whoever can listen on the network can read the token, so use it
// on networks you trust, or stay on loopback and come through a tunnel. Requests that another site makes a browser send,
// and those for a host name that is not this machine's, are refused.
//
// # Bounds
//
// 32 pages at a time are kept current; one that does not read what it is sent is let go, and a browser comes back by itself.
// 256 connections, 16 messages under way, 1,000 nodes and 200 streams are shown. While somebody looks, up to 64 nodes are
// pinged every five seconds for their round trip. No label of a metric is a name that others choose.
package page
