-- How Argo CD sees an EgressGateway. Uses no library: Argo CD's Lua has neither string nor os functions.
-- Suspended: the operator leaves the object as it is. Degraded: only a change of an object helps, not waiting.
if obj.spec ~= nil and obj.spec.suspend == true then
  return { status = "Suspended", message = "spec.suspend is true: only the status is written" }
end

local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

local ready = conditions["Ready"]
if ready == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to observe this generation" }
end

local stalled = conditions["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = stalled.message }
end

-- Somebody else has to act, such as another team that has the host: Argo CD has no better word for it.
local accepted = conditions["Accepted"]
if accepted ~= nil and accepted.status == "False" then
  return { status = "Degraded", message = accepted.message }
end

if ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
return { status = "Progressing", message = ready.message }
