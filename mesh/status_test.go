package mesh_test

import (
	"context"
	"testing"
	"time"

	"ultrasockets/mesh/meshtest"
)

func TestStatus(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m := meshtest.New(t, "a", "b")
	a, b := m.Node("a"), m.Node("b")
	for range 3 {
		if err := b.Deliver(ctx, "a", "hello"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Send(ctx, "nobody", "12345"); err != nil {
		t.Fatal(err)
	}

	of := b.Status()
	if !of.Linked || of.Self || of.Relay != nil || of.Sent.Messages != 4 || of.Sent.Frames < 3 {
		t.Errorf("of the sender: %+v", of)
	}
	if len(of.To) != 2 || of.To[0].Name != "a" || of.To[0].Messages != 0 || of.To[1].Name != "nobody" || of.To[1].Messages != 1 || of.To[1].Bytes != 96+2+6 {
		t.Errorf("its streams: %+v", of.To)
	}

	of = a.Status()
	if !of.Self || of.Relay == nil || of.Relay.Links != 1 || of.Relay.FramesIn == 0 || of.Relay.Admitted != 1 {
		t.Errorf("of the relay: %+v, %+v", of, of.Relay)
	}
	if of.Received.Messages != 3 || of.Inbox.Messages != 3 || of.Inbox.Bytes != 3*(96+6) || of.Inbox.Limit != 16<<20 || of.Inbox.Granted == 0 {
		t.Errorf("of the receiver: %+v", of)
	}
	if len(of.From) != 1 || of.From[0].Name != "b" || of.From[0].Granted != of.Inbox.Granted {
		t.Errorf("where it came from: %+v", of.From)
	}
	a.Get(2)
	if of = a.Status(); of.Inbox.Messages != 1 || of.Inbox.Bytes != 96+6 || of.Received.Messages != 3 {
		t.Errorf("after two were taken, the newest first: %+v", of)
	}
	for range 2 {
		if err := b.Deliver(ctx, "a", "12345"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	if of = a.Status(); of.Inbox.Messages != 2 || of.Inbox.Bytes != 2*(96+6) {
		t.Errorf("after one of three was taken, the oldest: %+v", of.Inbox)
	}
	if err := a.Pause(); err != nil || !a.Status().Paused {
		t.Error("not paused", err)
	}
}
