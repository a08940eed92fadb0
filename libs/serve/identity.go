package serve

import (
	"encoding/binary"
	"encoding/json"
	"io"

	"k8s.io/apiserver/pkg/authentication/user"
)

// writeIdentity sends a length of four bytes, then the user as JSON.
func writeIdentity(w io.Writer, u user.Info) error {
	b, err := json.Marshal(user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()})
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func readIdentity(r io.Reader) (user.Info, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	u := &user.DefaultInfo{}
	return u, json.Unmarshal(b, u)
}
