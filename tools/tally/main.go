// Command tally reads `go test -json` from standard input and shows what a person
// wants to see: a line for each package, the whole output of what failed, the reason
// of what was skipped. It adds the counts to a file, and prints that file's sum.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
)

func main() {
	file := flag.String("file", "", "file that counts are added to, one line a run")
	sum := flag.Bool("sum", false, "print the sum of the file's lines instead of reading tests")
	flag.Parse()
	failed, err := run(*file, *sum)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(file string, sum bool) (failed bool, err error) {
	if sum {
		total, err := readCounts(file)
		if err != nil {
			return false, err
		}
		fmt.Println(total)
		return total.Failed > 0, nil
	}
	out := bufio.NewWriter(os.Stdout)
	report := newReport(out)
	if err := report.read(os.Stdin); err != nil {
		return false, err
	}
	if err := out.Flush(); err != nil {
		return false, err
	}
	return report.total.Failed > 0, addCounts(file, report.total)
}
