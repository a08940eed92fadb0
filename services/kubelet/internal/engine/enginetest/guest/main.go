// Guest is what runs inside the containers of the acceptance suite: one static
// executable with a verb for each thing a test wants to see from within.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fail("a verb is required")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "wait": // until SIGTERM
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Println("ready")
		<-signals
	case "stubborn": // until SIGKILL
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		for {
			time.Sleep(time.Hour)
		}
	case "exit":
		code, err := strconv.Atoi(args[0])
		check(err)
		os.Exit(code)
	case "lines": // n of them, odd ones to stdout and even ones to stderr
		n, err := strconv.Atoi(args[0])
		check(err)
		for i := 1; i <= n; i++ {
			_, err := fmt.Fprintln([]io.Writer{os.Stderr, os.Stdout}[i%2], "line", i)
			check(err)
		}
	case "cat":
		for _, path := range args {
			data, err := os.ReadFile(path)
			check(err)
			_, err = os.Stdout.Write(data)
			check(err)
		}
	case "write":
		check(os.WriteFile(args[0], []byte(args[1]), 0o644))
	case "copy": // stdin to stdout, then a word to stderr
		_, err := io.Copy(os.Stdout, os.Stdin)
		check(err)
		fmt.Fprintln(os.Stderr, "done")
	case "terminal": // its size, for each line read
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
			check(err)
			fmt.Printf("size %dx%d\n", size.Col, size.Row)
		}
	case "id":
		host, err := os.Hostname()
		check(err)
		groups, err := os.Getgroups()
		check(err)
		dir, err := os.Getwd()
		check(err)
		fmt.Println(os.Getuid(), os.Getgid(), groups, host, dir)
	case "uname":
		check(unix.Uname(&unix.Utsname{}))
	case "env":
		fmt.Println(os.Getenv(args[0]))
	case "processes":
		entries, err := os.ReadDir("/proc")
		check(err)
		for _, e := range entries {
			if _, err := strconv.Atoi(e.Name()); err != nil {
				continue
			}
			if name, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil {
				fmt.Println(e.Name(), name)
			}
		}
	case "serve":
		serve(args[0])
	case "dial": // sends a line, prints the answer
		conn, err := net.Dial("tcp", args[0])
		check(err)
		_, err = fmt.Fprintln(conn, strings.Join(args[1:], " "))
		check(err)
		check(conn.(*net.TCPConn).CloseWrite())
		_, err = io.Copy(os.Stdout, conn)
		check(err)
	case "eat": // memory, until killed
		for held := make([][]byte, 0); ; {
			block := bytes.Repeat([]byte{1}, 8<<20)
			held = append(held, block)
			runtime.KeepAlive(held)
		}
	default:
		fail("unknown verb " + os.Args[1])
	}
}

// serve answers each connection's lines with the same in capitals.
func serve(address string) {
	listener, err := net.Listen("tcp", address)
	check(err)
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		check(err)
		go func() {
			defer func() { _ = conn.Close() }()
			for in := bufio.NewScanner(conn); in.Scan(); {
				if _, err := fmt.Fprintln(conn, strings.ToUpper(in.Text())); err != nil {
					return
				}
			}
		}()
	}
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}
