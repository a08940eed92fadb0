// Command server is all that the lab's tests run in pods: an HTTP server that ends
// gracefully, and the clients that ask it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is server [serve|get|load|wait] FLAGS ARGUMENTS; nothing means serve.
func run(ctx context.Context, args []string) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	delay := fs.Duration("delay", 0, "serve: how long to go on serving after SIGTERM")
	within := fs.Duration("within", 0, "get: how long to repeat a request that fails")
	every := fs.Duration("every", 50*time.Millisecond, "load: the time between two requests")
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch command {
	case "serve":
		return serve(ctx, *delay)
	case "get":
		return get(ctx, fs.Arg(0), *within)
	case "load":
		return load(ctx, fs.Arg(0), *every)
	case "wait":
		return wait(ctx, fs.Arg(0))
	}
	return fmt.Errorf("there is no command %q", command)
}

// serve answers with who it is and who asked. After SIGTERM it serves on for a
// while, since whoever sends requests here hears of the end only then.
func serve(ctx context.Context, delay time.Duration) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("request", r.URL.Path, "from", r.RemoteAddr)
		_, _ = fmt.Fprintf(w, "name=%s version=%s client=%s path=%s\n", name, os.Getenv("VERSION"), r.RemoteAddr, r.URL.Path)
	})
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Println("serving on", server.Addr)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	fmt.Println("asked to end, serving on for", delay)
	time.Sleep(delay)
	last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = server.Shutdown(last)
	fmt.Println("ended")
	return err
}

// client makes a connection for each request, so that each goes through the
// Service's rules anew.
var client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func ask(ctx context.Context, url string) (string, error) {
	way := &steps{begin: time.Now()}
	body, err := request(httptrace.WithClientTrace(ctx, way.trace()), url)
	if err != nil {
		err = fmt.Errorf("%w [%s]", err, way)
	}
	return body, err
}

// steps tell how far a request came, so that a failure says where it failed.
type steps struct {
	begin time.Time
	mu    sync.Mutex
	text  string
}

func (s *steps) note(step string, what any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += fmt.Sprintf("%s %v at %s; ", step, what, time.Since(s.begin).Round(time.Millisecond))
}

func (s *steps) String() string {
	s.note("failed", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

func (s *steps) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSDone:      func(i httptrace.DNSDoneInfo) { s.note("name", i.Addrs) },
		ConnectStart: func(_, address string) { s.note("connecting", address) },
		ConnectDone:  func(_, _ string, err error) { s.note("connected", err) },
		WroteRequest: func(i httptrace.WroteRequestInfo) { s.note("asked", i.Err) },
	}
}

func request(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

func get(ctx context.Context, url string, within time.Duration) error {
	begin := time.Now()
	for {
		body, err := ask(ctx, url)
		if err == nil {
			fmt.Print(body)
			return nil
		}
		if time.Since(begin) >= within {
			return err
		}
		fmt.Fprintln(os.Stderr, err)
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

// load asks steadily until it is told to end. It prints every failure, and the sums
// about once a second.
func load(ctx context.Context, url string, every time.Duration) error {
	asked, failed := 0, 0
	told := time.Now()
	for ctx.Err() == nil {
		_, err := ask(ctx, url)
		if ctx.Err() != nil {
			break
		}
		asked++
		if err != nil {
			failed++
			fmt.Println("failure", time.Now().UTC().Format(time.RFC3339Nano), err)
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			fmt.Println("asked", asked, "failed", failed)
		}
		_ = pause(ctx, every)
	}
	fmt.Println("asked", asked, "failed", failed)
	return nil
}

func wait(ctx context.Context, duration string) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	fmt.Println("waiting", d)
	return pause(ctx, d)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
