// Package expressions compiles and evaluates the CEL expressions of admission:
// those of policies, and the match conditions of webhooks. Its environments are
// upstream's and are made when first needed.
package expressions

import (
	"sync"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// Declared are the variables that an expression may use beside object, oldObject,
// request and namespaceObject.
type Declared = plugincel.OptionalVariableDeclarations

// variablesType is the type of what policies call variables.
const variablesType = "kubernetes.variables"

// always is an option of every version.
var always = version.MajorMinor(1, 0)

// environments are the shared ones, by what they declare.
var environments sync.Map // of Declared to func() (*environment.EnvSet, error)

// of returns the environments with the declared variables.
func of(d Declared) (*environment.EnvSet, error) {
	made, ok := environments.Load(d)
	if !ok {
		made, _ = environments.LoadOrStore(d, sync.OnceValues(func() (*environment.EnvSet, error) { return build(d, types{}) }))
	}
	return made.(func() (*environment.EnvSet, error))()
}

// types are those of objects, where they are known; nil where they are not.
type types struct{ object, params *apiservercel.DeclType }

func build(d Declared, known types) (*environment.EnvSet, error) {
	requestType, namespaceType := plugincel.BuildRequestType(), plugincel.BuildNamespaceType()
	declared := []*apiservercel.DeclType{namespaceType, requestType}
	typeOf := func(t *apiservercel.DeclType) *cel.Type {
		if t == nil {
			return cel.DynType
		}
		declared = append(declared, t)
		return t.CelType()
	}
	object := typeOf(known.object)
	options := []cel.EnvOption{
		cel.Variable(plugincel.ObjectVarName, object),
		cel.Variable(plugincel.OldObjectVarName, object),
		cel.Variable(plugincel.NamespaceVarName, namespaceType.CelType()),
		cel.Variable(plugincel.RequestVarName, requestType.CelType()),
	}
	if d.HasParams {
		options = append(options, cel.Variable(plugincel.ParamsVarName, typeOf(known.params)))
	}
	if d.HasAuthorizer {
		options = append(options,
			cel.Variable(plugincel.AuthorizerVarName, library.AuthorizerType),
			cel.Variable(plugincel.RequestResourceAuthorizerVarName, library.ResourceCheckType))
	}
	extensions := []environment.VersionedOptions{
		{IntroducedVersion: always, EnvOptions: options, DeclTypes: declared}, environment.StrictCostOpt,
	}
	if d.HasPatchTypes {
		extensions = append(extensions, environment.VersionedOptions{IntroducedVersion: always, EnvOptions: []cel.EnvOption{
			common.ResolverEnvOption(&mutation.DynamicTypeResolver{}),
			environment.UnversionedLib(library.JSONPatch),
		}})
	}
	set := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	for _, extension := range extensions {
		var err error
		if set, err = set.Extend(extension); err != nil {
			return nil, err
		}
	}
	return set, nil
}
