package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFrameThatIsAskedForAgainHasTheSameMark(t *testing.T) {
	t.Parallel()
	var last int
	mark := marks(10, 3, &last)
	assert.Equal(t, []int{1, 0, 2, 2, 3, 3, 0}, []int{mark(0), mark(9), mark(10), mark(10), mark(20), mark(20), mark(30)})
	assert.Equal(t, 3, last)
}
