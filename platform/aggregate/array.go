package aggregate

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/uuid"
)

// array is one column of many rows as an argument of a statement. PostgreSQL takes
// arrays in half of the time that rows in JSON take it.
type array struct {
	index []int
	// sqlType is that of the elements. The insert converts them to that of the column.
	sqlType string
	// asJSON elements are what JSON makes of a slice, a map or a struct.
	asJSON bool
	// omitZero has the zero value be null, as JSON omits it.
	omitZero bool
}

var (
	uuidType    = reflect.TypeFor[uuid.UUID]()
	rawJSONType = reflect.TypeFor[json.RawMessage]()
)

// arraysOf returns what columns names, in the same order.
func arraysOf(t reflect.Type) (arrays []array) {
	for f := range t.Fields() {
		switch {
		case f.Anonymous:
			for _, a := range arraysOf(f.Type) {
				a.index = append(append([]int{}, f.Index...), a.index...)
				arrays = append(arrays, a)
			}
		case f.IsExported():
			a := array{index: f.Index}
			a.sqlType, a.asJSON = sqlTypeOf(f.Type)
			_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			a.omitZero = strings.Contains(options, "omit") && f.Type.Kind() != reflect.Pointer
			arrays = append(arrays, a)
		}
	}
	return arrays
}

// sqlTypeOf returns the type whose array holds values of a Go type.
func sqlTypeOf(t reflect.Type) (name string, asJSON bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case uuidType:
		return "uuid", false
	case timeType:
		return "timestamptz", false
	case rawJSONType:
		return "jsonb", true
	}
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytea", false
		}
		return "jsonb", true
	case reflect.String:
		return "text", false
	case reflect.Bool:
		return "boolean", false
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "bigint", false
	case reflect.Float32, reflect.Float64:
		return "double precision", false
	default:
		return "jsonb", true
	}
}

// parameters are the arrays as arguments, from the second one on.
func parameters(arrays []array) string {
	list := make([]string, len(arrays))
	for i, a := range arrays {
		list[i] = fmt.Sprintf("$%d::%s[]", i+2, a.sqlType)
	}
	return strings.Join(list, ", ")
}

// of returns the column of the rows. What JSON would omit or call null is null.
func (a array) of(rows []reflect.Value) (any, error) {
	if a.asJSON {
		return a.jsonOf(rows)
	}
	element := rows[0].FieldByIndex(a.index).Type()
	if a.omitZero {
		element = reflect.PointerTo(element)
	}
	list := reflect.MakeSlice(reflect.SliceOf(element), len(rows), len(rows))
	for i, row := range rows {
		switch value := row.FieldByIndex(a.index); {
		case !a.omitZero:
			list.Index(i).Set(value)
		case !value.IsZero():
			list.Index(i).Set(value.Addr())
		}
	}
	return list.Interface(), nil
}

func (a array) jsonOf(rows []reflect.Value) (any, error) {
	list := make([][]byte, len(rows))
	for i, row := range rows {
		value := row.FieldByIndex(a.index)
		if a.omitZero && value.IsZero() {
			continue
		}
		text, err := json.Marshal(value.Interface())
		if err != nil {
			return nil, err
		}
		if string(text) != "null" {
			list[i] = text
		}
	}
	return list, nil
}
