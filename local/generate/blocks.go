package main

import (
	"fmt"
	"slices"
	"strings"
)

// fill replaces what a file has between the line with the marker of a block and the
// next line with that of an end. Lines get the indentation of the marker.
func fill(file, block, text string) (string, error) {
	lines := strings.Split(file, "\n")
	begin := slices.IndexFunc(lines, func(line string) bool { return marks(line, block) })
	if begin < 0 {
		return "", fmt.Errorf("it lacks a line with the comment %q", marker+block)
	}
	length := slices.IndexFunc(lines[begin:], func(line string) bool { return marks(line, "end") })
	if length < 0 {
		return "", fmt.Errorf("it lacks a line with the comment %q after %q", marker+"end", marker+block)
	}
	indent := lines[begin][:len(lines[begin])-len(strings.TrimLeft(lines[begin], " \t"))]
	var made []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if line != "" {
			line = indent + line
		}
		made = append(made, line)
	}
	return strings.Join(slices.Replace(lines, begin+1, begin+length, made...), "\n"), nil
}

const marker = "quad generate: "

// marks reports whether a line is a comment with the marker of a block.
func marks(line, block string) bool {
	comment := strings.TrimLeft(line, " \t")
	if !slices.ContainsFunc([]string{"#", "<!--", "//"}, func(begin string) bool { return strings.HasPrefix(comment, begin) }) {
		return false
	}
	_, rest, found := strings.Cut(comment, marker)
	word, _, _ := strings.Cut(rest, " ")
	return found && word == block
}
