package impersonation

import (
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/services/apiserver/internal/auth/recent"
)

// Memory knows by which mode each user last acted as somebody else. That mode is
// tried first, so that those who are permitted by the oldest one, the last in
// order, are not asked about all others each time. The zero value is ready.
type Memory struct {
	once  sync.Once
	users *recent.Cache[string, int]
}

// remembered is for how many users; a user's name is all that is kept.
const remembered = 5000

// Nothing in it ends but by being forgotten.
var never, always = time.Time{}, time.Time{}.Add(1)

func (m *Memory) cache() *recent.Cache[string, int] {
	m.once.Do(func() { m.users = recent.New[string, int](remembered) })
	return m.users
}

func (m *Memory) last(u user.Info) (int, bool) { return m.cache().Get(u.GetName(), never) }

func (m *Memory) note(u user.Info, mode int) { m.cache().Put(u.GetName(), mode, always) }
