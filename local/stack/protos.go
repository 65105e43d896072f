package stack

import (
	"context"
	"os"
	"path/filepath"
)

// protoTools check and compile the files of events/proto.
var protoTools = tool{"buf", []string{"./rules", "tool"}, []string{"buf", "protoc-gen-go", "protoc-gen-go-grpc", "rules"}, "about 2 min the first time"}

// ProtoTools is the folder of these programs, and whether they are built for the present sources.
func (s *Stack) ProtoTools() (dir string, built bool) {
	dir = filepath.Join(s.Root, ".local", "protos", "bin")
	return dir, s.toolBuilt(protoTools, dir)
}

// BuildProtoTools builds them where they are not there for the present sources.
func (s *Stack) BuildProtoTools(ctx context.Context) error {
	dir, _ := s.ProtoTools()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return s.buildTool(ctx, protoTools, dir)
}
