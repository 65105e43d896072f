// Command rules writes buf/validate/validate.proto below the folder that it is given, as the
// Go module that services are built with has it: so no registry but Go's is needed.
package main

import (
	"log"
	"os"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: rules FOLDER")
	}
	files := []protoreflect.FileDescriptor{validate.File_buf_validate_validate_proto}
	if err := new(protoprint.Printer).PrintProtosToFileSystem(files, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
