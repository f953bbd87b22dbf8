-- look: mirrors domain/user.rs
read()
if not user.w then return refuse('user') end
if not user.here then return '{"w":' .. user.w .. ',"t":' .. (user.t or now) .. '}' end
local ids = connections()
local newest = #ids > 0 and ',"b":' .. user.b .. ',"c":["' .. ids[#ids] .. '"]' or ''
return '{"w":' .. user.w .. ',"s":"' .. user.s .. '","l":' .. last_seen() .. ',"k":' .. #ids .. newest .. '}'
