package aggregate

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"
)

var (
	timeType   = reflect.TypeFor[time.Time]()
	loadedType = reflect.TypeFor[loaded]()
)

// appendContent appends all that a value holds, with what its pointers and slices
// lead to. A value that has not changed has the same content, one whose JSON has
// changed another. It takes a tenth of the time that JSON does, which counts: every
// row that is loaded to be saved pays it, and most of them do change.
func appendContent(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.String:
		return append(binary.AppendUvarint(b, uint64(v.Len())), v.String()...), nil //nolint:gosec // no length is negative
	case reflect.Bool:
		if v.Bool() {
			return append(b, 1), nil
		}
		return append(b, 0), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(b, v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return binary.AppendUvarint(b, v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float())), nil
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, 0), nil
		}
		return appendContent(append(b, 1), v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return append(b, 0), nil
		}
		return appendElements(binary.AppendUvarint(append(b, 1), uint64(v.Len())), v) //nolint:gosec // no length is negative
	case reflect.Array:
		return appendElements(b, v)
	case reflect.Struct:
		if v.Type() == timeType {
			t, _ := reflect.TypeAssert[time.Time](v)
			return binary.AppendVarint(binary.AppendVarint(b, t.Unix()), int64(t.Nanosecond())), nil
		}
		return appendFields(b, v)
	default: // a map, or an interface
		return appendJSON(b, v)
	}
}

func appendJSON(b []byte, v reflect.Value) ([]byte, error) {
	if !v.CanInterface() {
		return nil, fmt.Errorf("%s cannot be compared: it is embedded without being exported", v.Type())
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, fmt.Errorf("%s cannot be compared: %w", v.Type(), err)
	}
	return append(binary.AppendUvarint(b, uint64(len(text))), text...), nil
}

func appendElements(b []byte, v reflect.Value) (_ []byte, err error) {
	if v.Type().Elem().Kind() == reflect.Uint8 && (v.Kind() == reflect.Slice || v.CanAddr()) {
		return append(b, v.Bytes()...), nil
	}
	for i := range v.Len() {
		if b, err = appendContent(b, v.Index(i)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendFields(b []byte, v reflect.Value) ([]byte, error) {
	whole := b
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanInterface() && f.Type() == loadedType {
			continue
		}
		if !f.CanInterface() && !v.Type().Field(i).Anonymous {
			return appendJSON(whole, v) // its fields do not say what it writes
		}
		var err error
		if b, err = appendContent(b, f); err != nil {
			return nil, err
		}
	}
	return b, nil
}
