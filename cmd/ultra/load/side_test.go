package load

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOpeningEnds: clients that cannot all connect are not waited for without end, and the error says what to do.
func TestOpeningEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		side := NewSide(func(ctx context.Context, w Work) (*Way, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		_, err := side.Round(context.Background(), Works[0], time.Second)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "take a workload with fewer") {
			t.Errorf("it ends with %v", err)
		}
		if waited := time.Since(began); waited != openFor {
			t.Errorf("it ends after %v, not %v", waited, openFor)
		}
	})
}
