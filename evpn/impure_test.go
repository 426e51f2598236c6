package evpn_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type impurity struct {
	ast.Node
	what string
}

// impure finds the clock, goroutines, channels and init functions in f.
func impure(f *ast.File) (found []impurity) {
	clock := map[string]bool{"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true, "NewTimer": true, "NewTicker": true, "Tick": true}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && clock[n.Sel.Name] {
				found = append(found, impurity{n, "time." + n.Sel.Name})
			}
		case *ast.GoStmt:
			found = append(found, impurity{n, "goroutine"})
		case *ast.ChanType:
			found = append(found, impurity{n, "channel"})
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				found = append(found, impurity{n, "init"})
			}
		}
		return true
	})
	return found
}

// TestImpureIsFound holds the guard itself to finding what it looks for.
func TestImpureIsFound(t *testing.T) {
	src := "package p\nfunc init() { go f(time.Now()); var c chan int; _ = c }\n"
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, 0)
	require.NoError(t, err)
	assert.Len(t, impure(f), 4)
}
