package golden

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// With is a copy of the object with some fields set, as Case tells.
func With(object, set map[string]any) map[string]any {
	data, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	var changed any
	if err := json.Unmarshal(data, &changed); err != nil {
		panic(err)
	}
	for path, value := range set {
		if value == "null" {
			value = json.RawMessage("null")
		}
		changed = setAt(changed, strings.Split(path, "/"), value)
	}
	return changed.(map[string]any)
}

func setAt(at any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	key := strings.ReplaceAll(path[0], "~1", "/")
	if list, ok := at.([]any); ok {
		i, err := strconv.Atoi(key)
		if err != nil || i > len(list) {
			panic(fmt.Sprintf("%q is no index", key))
		}
		if i == len(list) {
			return append(list, setAt(nil, path[1:], value))
		}
		if value == nil && len(path) == 1 {
			return slices.Delete(list, i, i+1)
		}
		list[i] = setAt(list[i], path[1:], value)
		return list
	}
	m, _ := at.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	if value == nil && len(path) == 1 {
		delete(m, key)
		return m
	}
	m[key] = setAt(m[key], path[1:], value)
	return m
}
