
-- The time in milliseconds since 1970, by the one clock that all nodes share.
local function clock()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

