package app

import (
	"context"
	"net/http"
)

func (s *server) rest() (http.Handler, error) { return http.NotFoundHandler(), nil }

func (s *server) serveREST(ctx context.Context, h http.Handler) error { <-ctx.Done(); return nil }
