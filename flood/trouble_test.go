package flood_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/flood"
)

func TestTrouble(t *testing.T) {
	var tr flood.Trouble
	now := time.Unix(1e9, 0)
	said := func(d time.Duration, err error) (lines int) {
		for end := now.Add(d); now.Before(end); now = now.Add(500 * time.Millisecond) {
			if tr.Tried(err, now) {
				lines++
			}
		}
		return lines
	}
	count := func() (c flood.Counters) { tr.Count(&c); return c }
	assert.Zero(t, said(time.Hour, nil))
	assert.Equal(t, flood.Counters{}, count())
	no := errors.New("no such queue")
	assert.Equal(t, 1, said(time.Minute, no))
	assert.Equal(t, 1, said(2*time.Minute, no), "after a minute")
	assert.Equal(t, 1, said(4*time.Minute, no), "after two more")
	assert.Equal(t, flood.Counters{Failures: 7 * 120, Problem: "no such queue"}, count())
	assert.Equal(t, 1, said(time.Second, errors.New("something else")))
	assert.Equal(t, "something else", tr.Why().Error())
	assert.InDelta(t, 24+5, said(24*time.Hour, no), 2, "each hour in the end")
	assert.Equal(t, 1, said(time.Hour, nil))
	assert.NoError(t, tr.Why())
	assert.Empty(t, count().Problem)
	assert.Equal(t, 1, said(time.Second, no), "another time is the first time")
}
