package main

import (
	"bufio"
	"fmt"
	"os"
)

// counts are tests, subtests among them, by how they ended.
type counts struct{ Passed, Failed, Skipped int }

// String is the line that a test run ends with.
func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, c.Failed, c.Skipped)
}

func (c counts) plus(d counts) counts {
	return counts{c.Passed + d.Passed, c.Failed + d.Failed, c.Skipped + d.Skipped}
}

// addCounts appends a line to the file, so that runs one after another add up.
func addCounts(file string, c counts) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, c); err != nil {
		_ = f.Close() // the write's error tells more
		return err
	}
	return f.Close()
}

func readCounts(file string) (counts, error) {
	f, err := os.Open(file)
	if err != nil {
		return counts{}, err
	}
	defer func() { _ = f.Close() }() // only read from
	var total counts
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c counts
		if _, err := fmt.Sscanf(lines.Text(), "%d passed, %d failed, %d skipped", &c.Passed, &c.Failed, &c.Skipped); err != nil {
			return counts{}, fmt.Errorf("%s: %q: %w", file, lines.Text(), err)
		}
		total = total.plus(c)
	}
	return total, lines.Err()
}
