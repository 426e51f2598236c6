package figures_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/lab/figures"
)

const document = "# Title\n\nWords.\n\n## One (`one`, n = 3)\n\n1\n\n## Two (`two`, n = 3)\n\n2\n\n## Notes\n\nby hand\n"

func TestPutReplacesItsOwnSection(t *testing.T) {
	t.Parallel()
	after := figures.Put(document, "one", "## One (`one`, n = 5)\n\nnew\n")
	assert.Equal(t, "# Title\n\nWords.\n\n## One (`one`, n = 5)\n\nnew\n\n## Two (`two`, n = 3)\n\n2\n\n## Notes\n\nby hand\n", after)
	assert.Equal(t, "## Two (`two`, n = 3)\n\n2\n", figures.Section(after, "two"))
}

func TestPutAddsBeforeTheNotes(t *testing.T) {
	t.Parallel()
	after := figures.Put(document, "three", "## Three (`three`, n = 1)\n\n3\n")
	assert.Contains(t, after, "2\n\n## Three (`three`, n = 1)\n\n3\n\n## Notes\n\nby hand\n")
	assert.Equal(t, "# Title\n\n## A (`a`, n = 1)\n", figures.Put("# Title\n", "a", "## A (`a`, n = 1)\n"))
}

func TestOthersAreSomebodyElses(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "\n## Two (`two`, n = 3)\n\n2\n", figures.Others(document, []string{"one"}))
	assert.Equal(t, "\n## Notes\n\nby hand\n", figures.Notes(document))
	assert.Empty(t, figures.Notes("# Title\n"))
}
