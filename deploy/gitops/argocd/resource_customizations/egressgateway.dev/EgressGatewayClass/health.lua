-- How Argo CD sees an EgressGatewayClass: it can be used, or it cannot. It has nothing to wait for but the operator.
local accepted = nil
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    if condition.type == "Accepted" then
      accepted = condition
    end
  end
end

if accepted == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to observe this generation" }
end
if accepted.status == "False" then
  return { status = "Degraded", message = accepted.message }
end
return { status = "Healthy", message = accepted.message }
