package environ

import "strings"

// Expand replaces each $(NAME) in s by value("NAME"). $$ stands for one $; a
// reference that value does not know, and a $ that starts none, stay as they
// are.
func Expand(s string, value func(name string) (string, bool)) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:i])
		switch rest := s[i+1:]; rest[0] {
		case '$':
			out.WriteByte('$')
			s = rest[1:]
		case '(':
			end := strings.IndexByte(rest, ')')
			if end < 0 {
				out.WriteString("$(")
				s = rest[1:]
				continue
			}
			if v, ok := value(rest[1:end]); ok {
				out.WriteString(v)
			} else {
				out.WriteString("$" + rest[:end+1])
			}
			s = rest[end+1:]
		default:
			out.WriteString("$" + rest[:1])
			s = rest[1:]
		}
	}
}
