package speaker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPauseAfterSessions(t *testing.T) {
	const ms = time.Millisecond
	b := backoff{first: firstReturn}
	for i, c := range []struct{ lived, limit, want time.Duration }{
		{time.Hour, 2 * time.Second, 50 * ms}, // a restart is quick to be over
		{ms, 2 * time.Second, 100 * ms},
		{lasting - 1, 2 * time.Second, 200 * ms},
		{ms, 2 * time.Second, 400 * ms},
		{ms, 2 * time.Second, 800 * ms},
		{ms, 2 * time.Second, 1600 * ms},
		{ms, 2 * time.Second, 2 * time.Second},
		{ms, 2 * time.Second, 2 * time.Second},
		{ms, time.Minute, 4 * time.Second}, // the configuration changed
		{ms, 30 * ms, 30 * ms},
		{lasting, 2 * time.Second, 50 * ms},
		{ms, 2 * time.Second, 100 * ms},
	} {
		got := b.afterSession(c.lived, c.limit)
		assert.LessOrEqual(t, got, c.want, "wait %d", i)
		assert.GreaterOrEqual(t, got, c.want*3/4, "wait %d", i)
	}
}
