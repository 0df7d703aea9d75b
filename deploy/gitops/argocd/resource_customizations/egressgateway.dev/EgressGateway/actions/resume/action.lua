-- Lets the operator work on the object again.
obj.spec.suspend = nil
return obj
