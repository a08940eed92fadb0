package managed

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
)

// Program is the manager that a user agent stands for: the program's name, as far
// as it can be one.
func Program(agent string) string {
	program, _, _ := strings.Cut(agent, "/")
	var b strings.Builder
	for _, char := range program {
		if !unicode.IsPrint(char) {
			continue
		}
		if b.Len()+utf8.RuneLen(char) > validation.FieldManagerMaxLength {
			break
		}
		b.WriteRune(char)
	}
	return b.String()
}
