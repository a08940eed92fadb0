// Command gen compiles every .proto file below proto/coracle: it writes the Go
// code of those with messages of their own, and coracle.binpb, the descriptor
// set that reflection answers from. Run it in the module's folder.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	sources, err := find("coracle")
	if err != nil {
		return err
	}
	modules, err := moduleFolders("k8s.io/api", "k8s.io/apimachinery", "k8s.io/apiextensions-apiserver", "k8s.io/kube-aggregator")
	if err != nil {
		return err
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			Accessor: func(path string) (io.ReadCloser, error) { return open(path, modules) },
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, sources...)
	if err != nil {
		return err
	}
	set := closure(files)
	if err := writeSet("coracle.binpb", set); err != nil {
		return err
	}
	return generate(set, sources)
}

func find(root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".proto") {
			out = append(out, filepath.ToSlash(path))
		}
		return err
	})
	return out, err
}

// moduleFolders finds modules that hold upstream's .proto files.
func moduleFolders(paths ...string) (map[string]string, error) {
	args := append([]string{"list", "-m", "-f", "{{.Path}} {{.Dir}}"}, paths...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("find modules: %w", err)
	}
	dirs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || dir == "" {
			return nil, fmt.Errorf("module %s is not downloaded: run go mod download", path)
		}
		dirs[path] = dir
	}
	return dirs, nil
}

func open(path string, modules map[string]string) (io.ReadCloser, error) {
	for module, dir := range modules {
		if rest, ok := strings.CutPrefix(path, module+"/"); ok {
			return os.Open(filepath.Join(dir, rest))
		}
	}
	return os.Open(filepath.FromSlash(path))
}

// closure lists the files and all they import, imports first.
func closure(files linker.Files) *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var visit func(f linker.File)
	visit = func(f linker.File) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			visit(f.FindImportByPath(f.Imports().Get(i).Path()))
		}
		set.File = append(set.File, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range files {
		visit(f)
	}
	return set
}

func writeSet(path string, set *descriptorpb.FileDescriptorSet) error {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// generate runs the plugins over the files that declare messages of ours. The
// files generated from the table of kinds have no Go code: their services are
// built from the table.
func generate(set *descriptorpb.FileDescriptorSet, sources []string) error {
	var own []string
	for _, s := range sources {
		if !strings.HasSuffix(s, "_kinds.proto") {
			own = append(own, s)
		}
	}
	for _, plugin := range []string{"google.golang.org/protobuf/cmd/protoc-gen-go", "google.golang.org/grpc/cmd/protoc-gen-go-grpc"} {
		request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
			FileToGenerate: own,
			Parameter:      proto.String("paths=source_relative"),
			ProtoFile:      set.File,
		})
		if err != nil {
			return err
		}
		if err := runPlugin(plugin, request); err != nil {
			return err
		}
	}
	return nil
}

func runPlugin(plugin string, request []byte) error {
	cmd := exec.Command("go", "run", plugin)
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(request)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", plugin, err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s: %s", plugin, response.GetError())
	}
	for _, f := range response.File {
		if err := os.WriteFile(filepath.FromSlash(f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
