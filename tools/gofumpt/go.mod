module coracle.local/tools/gofumpt

go 1.26.0

tool mvdan.cc/gofumpt

require (
	github.com/google/go-cmp v0.7.0 // indirect
	golang.org/x/mod v0.27.0 // indirect
	golang.org/x/sync v0.16.0 // indirect
	golang.org/x/tools v0.36.0 // indirect
	mvdan.cc/gofumpt v0.9.1 // indirect
)
