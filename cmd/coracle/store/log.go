package store

import (
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// harmless are messages that etcd logs as errors in every start and end of an
// embedded server: nothing is wrong, and nothing can be done about them.
var harmless = []string{
	"failed to update storage version",
	"setting up serving from embedded etcd failed.",
}

// quiet lets through what an operator has to know of etcd.
func quiet(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return quietCore{c} }), zap.IncreaseLevel(zap.ErrorLevel))
}

type quietCore struct{ zapcore.Core }

func (c quietCore) With(fields []zapcore.Field) zapcore.Core { return quietCore{c.Core.With(fields)} }

func (c quietCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if slices.Contains(harmless, e.Message) {
		return ce
	}
	return c.Core.Check(e, ce)
}
