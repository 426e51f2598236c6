package figures_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/lab/figures"
)

func TestQuantiles(t *testing.T) {
	t.Parallel()
	v := []float64{5, 1, 4, 2, 3}
	assert.Equal(t, 3.0, figures.Median(v))
	assert.Equal(t, 2.5, figures.Median(v[1:]))
	assert.Equal(t, 3.0, figures.Quantile(v, 0.5))
	assert.Equal(t, 5.0, figures.Quantile(v, 0.99))
}

func TestNumbersAreReadable(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.123: "0.12", 12.34: "12.3", 123.4: "123", 1234.5: "1,235", 178167: "178,167"} {
		assert.Equal(t, want, figures.Number(v))
	}
}
