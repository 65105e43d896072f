package image

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

// ours begins the path of a module of this repository, which has no version but the commit.
const ours = "quadrille.internal/"

// writeSBOM writes the bill of materials of a program, as CycloneDX JSON: what the linker put
// into it and no more.
func writeSBOM(m Image, program string, from source) (err error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read what %s is built of: %w", program, err)
	}
	sum, err := sha256Of(program)
	if err != nil {
		return err
	}
	file, err := os.Create(m.SBOM)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	encoder := cyclonedx.NewBOMEncoder(file, cyclonedx.BOMFileFormatJSON)
	return encoder.SetPretty(true).Encode(billOf(m, info, sum, from))
}

func billOf(m Image, info *buildinfo.BuildInfo, sum string, from source) *cyclonedx.BOM {
	bill := cyclonedx.NewBOM()
	root := "image:" + m.Name
	bill.Metadata = &cyclonedx.Metadata{
		Timestamp: from.time.Format(time.RFC3339),
		Component: &cyclonedx.Component{
			BOMRef: root, Type: cyclonedx.ComponentTypeContainer, Name: m.Name, Version: m.Version,
			Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: strings.TrimPrefix(m.Digest, "sha256:")}},
		},
	}
	components := []cyclonedx.Component{
		{
			BOMRef: "file:" + m.Service, Type: cyclonedx.ComponentTypeApplication, Name: info.Path, Version: from.revision,
			Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: sum}},
		},
		goModule("std", strings.TrimPrefix(info.GoVersion, "go"), ""),
	}
	for _, dep := range info.Deps {
		components = append(components, moduleOf(dep, from))
	}
	refs := make([]string, len(components))
	for i, c := range components {
		refs[i] = c.BOMRef
	}
	bill.Components, bill.Dependencies = &components, &[]cyclonedx.Dependency{{Ref: root, Dependencies: &refs}}
	return bill
}

// moduleOf is a module that is linked in: the one that takes its place, where there is one.
func moduleOf(dep *debug.Module, from source) cyclonedx.Component {
	if strings.HasPrefix(dep.Path, ours) {
		return goModule(dep.Path, from.revision, "")
	}
	if dep.Replace != nil {
		dep = dep.Replace
	}
	return goModule(dep.Path, dep.Version, dep.Sum)
}

// goModule has the name by which vulnerability scanners know a module.
func goModule(path, version, sum string) cyclonedx.Component {
	url := "pkg:golang/" + path + "@" + version
	c := cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
	if sum != "" {
		c.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: sum}}
	}
	return c
}

func sha256Of(path string) (sum string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
