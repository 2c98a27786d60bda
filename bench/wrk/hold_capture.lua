-- Holds of two credits, each followed by its capture. Arguments: API key, run, number of accounts,
-- credits that are captured; what is left of the hold is released.
dofile((os.getenv("WRK_DIR") or ".") .. "/common.lua")

local open = {}

function init(args)
  common(args)
  captured = args[4]
end

function request()
  local hold_id = table.remove(open)
  if hold_id then
    return post("/v1/holds/" .. hold_id .. "/capture", '{"amount":' .. captured .. '}')
  end
  return post("/v1/customers/" .. customer() .. "/holds", '{"amount":2}')
end

function response(status, headers, body)
  if not body:find('"deduction_id"', 1, true) then
    local hold_id = body:match('"hold_id":"([^"]+)"')
    if hold_id then
      table.insert(open, hold_id)
    end
  end
end
