package speaker

import "context"

type mirror struct{}

func (s *Speaker) startMirror(context.Context) {}
