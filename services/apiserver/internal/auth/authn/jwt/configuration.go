package jwt

import (
	"errors"
	"fmt"
	"os"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
)

// File is an AuthenticationConfiguration as it was last read.
type File struct {
	Configuration *apiserver.AuthenticationConfiguration

	path string // empty where flags say the same
	data []byte
}

// Load reads an AuthenticationConfiguration and says what is wrong with it.
// Nobody but the server itself may vouch for its own issuers.
func Load(path string, own []string) (*File, error) {
	f := &File{path: path}
	var err error
	if f.data, err = os.ReadFile(path); err == nil {
		f.Configuration, err = decode(f.data)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to load authentication configuration from file %q: %w", path, err)
	}
	return f, Validate(f.Configuration, own)
}

func decode(data []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(data) == 0 {
		return nil, errors.New("empty config data")
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	o, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), data)
	if err != nil {
		return nil, err
	}
	c, ok := o.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected AuthenticationConfiguration, got %T", o)
	}
	return c, nil
}

// Validate says what is wrong with a configuration. The expressions of its
// providers are compiled for it.
func Validate(c *apiserver.AuthenticationConfiguration, own []string) error {
	if len(c.JWT) == 0 && c.Anonymous == nil {
		return nil
	}
	errs := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), c, own)
	if err := errs.ToAggregate(); err != nil {
		return fmt.Errorf("invalid authentication configuration: %w", err)
	}
	return nil
}

// same tells whether a new version leaves anonymous requests as they are.
func (f *File) same(c *apiserver.AuthenticationConfiguration) error {
	if reflect.DeepEqual(f.Configuration.Anonymous, c.Anonymous) {
		return nil
	}
	return field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file")
}
